//! The order of a merged list: what the patch says comes in the patch's order, what only the
//! server has keeps the server's order, and the two are woven by the order the server had.

use crate::Value;

/// What tells two elements apart: the merge key's value, or the element itself.
pub(super) fn identity<'a>(element: &'a Value, merge_key: Option<&str>) -> &'a Value {
    match (element, merge_key) {
        (Value::Object(map), Some(key)) => map.get(key).unwrap_or(&Value::Null),
        (element, _) => element,
    }
}

fn index(list: &[Value], element: &Value, merge_key: Option<&str>) -> Option<usize> {
    let wanted = identity(element, merge_key);
    list.iter()
        .position(|known| identity(known, merge_key) == wanted)
}

/// Puts `merged` in order: `patch_order` leads, `server_order` settles the rest.
pub(super) fn arrange(
    merged: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    merge_key: Option<&str>,
) -> Vec<Value> {
    let (mut from_patch, mut server_only): (Vec<Value>, Vec<Value>) = merged
        .into_iter()
        .partition(|element| index(patch_order, element, merge_key).is_some());
    let sort = |list: &mut Vec<Value>, order: &[Value]| {
        list.sort_by_cached_key(|element| index(order, element, merge_key).unwrap_or(usize::MAX));
    };
    sort(&mut from_patch, patch_order);
    sort(&mut server_only, server_order);
    weave(server_only, from_patch, server_order, merge_key)
}

fn weave(
    server_only: Vec<Value>,
    from_patch: Vec<Value>,
    server_order: &[Value],
    merge_key: Option<&str>,
) -> Vec<Value> {
    let mut out = Vec::with_capacity(server_only.len() + from_patch.len());
    let mut left = server_only.into_iter().peekable();
    let mut right = from_patch.into_iter().peekable();
    while let (Some(server), Some(patch)) = (left.peek(), right.peek()) {
        let places = (
            index(server_order, server, merge_key),
            index(server_order, patch, merge_key),
        );
        let server_first = matches!(places, (Some(server), Some(patch)) if server < patch);
        out.extend(if server_first {
            left.next()
        } else {
            right.next()
        });
    }
    out.extend(left);
    out.extend(right);
    out
}
