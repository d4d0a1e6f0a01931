//! Keys and certificates are made once, kept private, and renewed when they must be.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn names() -> Names {
    Names {
        dns: vec!["box.example".to_owned()],
        addresses: vec!["192.0.2.7".parse().unwrap()],
        service_address: Some("10.96.0.1".parse().unwrap()),
        cluster_domain: "cluster.local".to_owned(),
    }
}

#[test]
fn a_second_start_keeps_every_key() {
    let dir = tempfile::tempdir().unwrap();
    let now = Timestamp::now();
    let first = Pki::ensure(dir.path(), &names(), now).unwrap();
    let second = Pki::ensure(dir.path(), &names(), now).unwrap();
    assert_eq!(first.ca_pem(), second.ca_pem());
    assert_eq!(first.serving.certificate, second.serving.certificate);
    assert_eq!(first.service_account_key, second.service_account_key);
    assert_eq!(first.encryption_key, second.encryption_key);
    for key in ["ca.key", "sa.key", "apiserver.key", "encryption.key"] {
        let mode = std::fs::metadata(dir.path().join(key))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
}

#[test]
fn a_serving_certificate_is_renewed_near_its_end_and_for_new_names() {
    let dir = tempfile::tempdir().unwrap();
    let now = Timestamp::now();
    let first = Pki::ensure(dir.path(), &names(), now).unwrap();
    let mut more = names();
    more.dns.push("other.example".to_owned());
    let second = Pki::ensure(dir.path(), &more, now).unwrap();
    assert_ne!(first.serving.certificate, second.serving.certificate);
    let later = now + jiff::SignedDuration::from_hours(24 * 300);
    let third = Pki::ensure(dir.path(), &more, later).unwrap();
    assert_ne!(second.serving.certificate, third.serving.certificate);
    assert_eq!(first.ca_pem(), third.ca_pem());
}

#[test]
fn half_a_ca_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    Pki::ensure(dir.path(), &names(), Timestamp::now()).unwrap();
    std::fs::remove_file(dir.path().join("ca.key")).unwrap();
    let Err(error) = Pki::ensure(dir.path(), &names(), Timestamp::now()) else {
        panic!("accepted")
    };
    assert!(error.to_string().contains("ca.key is missing"), "{error}");
}

#[test]
fn a_kubeconfig_is_kept_while_it_serves() {
    let dir = tempfile::tempdir().unwrap();
    let now = Timestamp::now();
    let pki = Pki::ensure(&dir.path().join("pki"), &names(), now).unwrap();
    let path = dir.path().join("admin.kubeconfig");
    let write = |url: &str| {
        pki.ensure_kubeconfig(&path, url, "kubernetes-admin", &["system:masters"], now)
            .unwrap();
        std::fs::read_to_string(&path).unwrap()
    };
    let first = write("https://127.0.0.1:6443");
    assert_eq!(first, write("https://127.0.0.1:6443"));
    assert_ne!(first, write("https://127.0.0.1:7443"));
}
