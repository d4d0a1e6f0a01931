//! How a node comes by its identity: a bootstrap token asks for a client certificate, the controllers
//! approve and sign it, and from then on the node is itself (upstream's TLS bootstrap).
//!
//! The cluster's certificate authority is known by a file, or by its fingerprint in the token; only
//! when it is known does the token leave this machine.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use apiserver::pki::{Identity, kubeconfig};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    ByteString,
    api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, api::PostParams, runtime::wait::await_condition};
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;

use crate::settings::agent::AgentSettings;

/// Signs certificates with which kubelets are clients.
pub const CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Signs certificates with which kubelets serve.
pub const SERVING: &str = "kubernetes.io/kubelet-serving";

/// How long the cluster may take to sign.
const PATIENCE: Duration = Duration::from_secs(60);
/// A certificate that lasts no longer than this is renewed at start.
const SHORT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// What a token says before the authority's fingerprint.
const PIN: &str = "@sha256:";

/// A token with the fingerprint of the authority that a server must show.
pub fn pinned(token: &str, authority: &[u8]) -> String {
    format!("{token}{PIN}{}", fingerprint(authority))
}

/// The fingerprint of a certificate in DER, as `openssl x509 -fingerprint -sha256` tells it, in
/// small letters and without colons.
fn fingerprint(certificate: &[u8]) -> String {
    Sha256::digest(certificate)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The node's kubeconfig, made or renewed where needed, and the authority's certificate.
pub async fn ensure(settings: &AgentSettings, node: &str, dir: &Path) -> Result<(PathBuf, String)> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot make {}", dir.display()))?;
    let path = dir.join("kubeconfig");
    let authority = dir.join("ca.crt");
    if path.exists() {
        let ca = fs::read_to_string(&authority)
            .with_context(|| format!("cannot read {}", authority.display()))?;
        if lasts(&path)? {
            return Ok((path, ca));
        }
        let client = client::from_kubeconfig(&path).await?;
        let identity = request(&client, node, CLIENT, &[]).await?;
        write(
            &path,
            &kubeconfig(&settings.server, &ca, &user(node), &identity),
        )?;
        return Ok((path, ca));
    }
    let token = settings.token.as_deref().context(
        "this node has not joined yet: give --token what `corten token create` printed on the server",
    )?;
    let (token, pin) = token
        .split_once(PIN)
        .map_or((token, None), |(token, pin)| (token, Some(pin)));
    let ca = match (&settings.ca_file, pin) {
        (Some(file), _) => {
            fs::read_to_string(file).with_context(|| format!("--ca-file {}", file.display()))?
        }
        (None, Some(pin)) => authority_of(&settings.server, pin).await?,
        (None, None) => bail!(
            "the token does not name the cluster's certificate authority: use one that `corten token create` printed, or --ca-file"
        ),
    };
    let client = with_token(&settings.server, token, &ca)?;
    let identity = request(&client, node, CLIENT, &[]).await?;
    write(&authority, &ca)?;
    write(
        &path,
        &kubeconfig(&settings.server, &ca, &user(node), &identity),
    )?;
    Ok((path, ca))
}

fn user(node: &str) -> String {
    format!("system:node:{node}")
}

fn write(path: &Path, text: &str) -> Result<()> {
    let shown = || format!("cannot write {}", path.display());
    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .with_context(shown)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&new, path))
        .with_context(shown)
}

/// Whether the certificate in a kubeconfig of ours is good for a while.
fn lasts(path: &Path) -> Result<bool> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let data = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("client-certificate-data:"))
        .with_context(|| format!("{} holds no certificate", path.display()))?;
    let pem = BASE64_STANDARD
        .decode(data.trim())
        .with_context(|| format!("the certificate in {}", path.display()))?;
    let certificate = CertificateDer::from_pem_slice(&pem)
        .with_context(|| format!("the certificate in {}", path.display()))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate)
        .with_context(|| format!("the certificate in {}", path.display()))?;
    let end = Timestamp::from_second(parsed.validity().not_after.timestamp())?;
    Ok(end > Timestamp::now() + SHORT)
}

fn with_token(server: &str, token: &str, ca: &str) -> Result<kube::Client> {
    let url = server
        .parse()
        .with_context(|| format!("--server {server}"))?;
    let mut config = kube::Config::new(url);
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(ca.as_bytes()).collect();
    let roots = roots.context("the certificate authority is no PEM certificate")?;
    config.root_cert = Some(roots.into_iter().map(|c| c.to_vec()).collect());
    config.auth_info.token = Some(token.to_string().into());
    Ok(kube::Client::try_from(config)?)
}

/// A key and a certificate for it, signed by the cluster.
pub async fn request(
    client: &kube::Client,
    node: &str,
    signer: &str,
    names: &[String],
) -> Result<Identity> {
    let key = rcgen::KeyPair::generate()?;
    let mut asked = rcgen::CertificateParams::new(names.to_vec())?;
    asked.distinguished_name = rcgen::DistinguishedName::new();
    asked
        .distinguished_name
        .push(rcgen::DnType::CommonName, user(node));
    asked
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, "system:nodes");
    let pem = asked.serialize_request(&key)?.pem()?;
    let purpose = if signer == SERVING {
        "server auth"
    } else {
        "client auth"
    };
    let wanted = CertificateSigningRequest {
        metadata: ObjectMeta {
            generate_name: Some("csr-".into()),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            signer_name: signer.into(),
            usages: Some(vec!["digital signature".into(), purpose.into()]),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
    let made = requests
        .create(&PostParams::default(), &wanted)
        .await
        .context(
            "cannot ask for a certificate (is the token still good? `corten token list` tells)",
        )?;
    let name = made.metadata.name.unwrap_or_default();
    let decided = |request: Option<&CertificateSigningRequest>| {
        let status = request.and_then(|r| r.status.as_ref());
        status.is_some_and(|s| {
            let denied = s.conditions.iter().flatten();
            s.certificate.is_some()
                || denied
                    .into_iter()
                    .any(|c| c.type_ == "Denied" || c.type_ == "Failed")
        })
    };
    let waiting = await_condition(requests, &name, decided);
    let decided = tokio::time::timeout(PATIENCE, waiting)
        .await
        .with_context(|| format!("nobody has signed the certificate request {name}: `kubectl describe csr {name}` tells more"))?
        .with_context(|| format!("cannot watch the certificate request {name}"))?;
    let certificate = decided
        .and_then(|r| r.status)
        .and_then(|s| s.certificate)
        .with_context(|| format!("the certificate request {name} was refused: `kubectl describe csr {name}` tells more"))?;
    Ok(Identity {
        certificate: String::from_utf8(certificate.0).context("the certificate is no text")?,
        key: key.serialize_pem(),
    })
}

/// The certificate with this fingerprint among those the server shows. Nothing is sent but the
/// handshake, and nothing is believed but the fingerprint.
async fn authority_of(server: &str, pin: &str) -> Result<String> {
    let url: http::Uri = server
        .parse()
        .with_context(|| format!("--server {server}"))?;
    let host = url
        .host()
        .with_context(|| format!("--server {server}: no host in it"))?
        .trim_matches(['[', ']']);
    let port = url.port_u16().unwrap_or(443);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Look(provider)))
        .with_no_client_auth();
    let stream = TcpStream::connect((host, port))
        .await
        .with_context(|| format!("cannot reach {server}"))?;
    let name = ServerName::try_from(host.to_string())?;
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .with_context(|| format!("cannot shake hands with {server}"))?;
    let shown = tls.get_ref().1.peer_certificates().unwrap_or_default();
    let authority = shown.iter().find(|c| fingerprint(c) == pin).with_context(|| {
        format!("{server} is not the cluster the token is for: none of its certificates has the token's fingerprint")
    })?;
    Ok(pem(authority))
}

fn pem(certificate: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(certificate);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

/// Looks at the server's certificates without believing them.
#[derive(Debug)]
struct Look(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Look {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{CertificateDer, pem::PemObject};

    use super::{pem, pinned};

    #[test]
    fn a_token_names_the_authority_and_pem_reads_back() {
        let bytes: Vec<u8> = (0..200).collect();
        let read = CertificateDer::from_pem_slice(pem(&bytes).as_bytes()).unwrap();
        assert_eq!(read.as_ref(), bytes);
        assert_eq!(
            pinned("abcdef.0123456789abcdef", b"abc"),
            "abcdef.0123456789abcdef@sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
