//! Hostile text to selectors, names and quantities: nothing panics, and what is understood is written
//! in a form that is understood as the same. `PROPTEST_CASES` says how many are tried.

use api::fields::FieldSelector;
use api::labels::Selector;
use api::quantity::Quantity;
use proptest::prelude::*;

proptest! {
    #[test]
    fn label_selectors_read_what_they_write(text in "[a-zA-Z0-9=!<>(), ./_\\-inotx]{0,40}") {
        if let Ok(selector) = Selector::parse(&text) {
            let written = selector.to_string();
            let again = Selector::parse(&written);
            prop_assert_eq!(again.map(|s| s.to_string()), Ok(written));
        }
    }

    #[test]
    fn field_selectors_read_what_they_write(text in "[a-z.=!,\\\\ ]{0,40}") {
        if let Ok(selector) = FieldSelector::parse(&text) {
            prop_assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector));
        }
    }

    #[test]
    fn any_text_is_answered(text in ".{0,60}") {
        let _ = Selector::parse(&text);
        let _ = FieldSelector::parse(&text);
        let _ = text.parse::<Quantity>();
        let _ = api::names::dns1123_subdomain(&text);
        let _ = api::names::path_segment(&text);
        let _ = api::names::cidr(&text);
        let _ = api::catalog::version_rank(&text);
    }
}
