//! What a request asks for ([`info`], [`query`], [`accept`]) and the one order in which it is dealt
//! with ([`chain`]).

pub mod accept;
pub mod chain;
pub mod info;
pub mod query;
