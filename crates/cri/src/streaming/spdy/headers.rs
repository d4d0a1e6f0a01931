//! SPDY's header blocks: names and values, compressed over the whole connection with zlib and a
//! dictionary that both sides know.

use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Longest block taken, decompressed.
const MAX_BLOCK: usize = 256 << 10;

/// Names of the dictionary's first part, each preceded by its length.
const WORDS: [&str; 65] = [
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];

/// The dictionary's second part, plain text.
const TEXT: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417\
    502504505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad \
    Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not \
    Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 \
    Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
    application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,\
    deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

fn dictionary() -> Vec<u8> {
    let mut out = Vec::with_capacity(1423);
    for word in WORDS {
        out.extend_from_slice(&(word.len() as u32).to_be_bytes());
        out.extend_from_slice(word.as_bytes());
    }
    out.extend_from_slice(TEXT.as_bytes());
    out
}

/// Names and values.
pub type Headers = Vec<(String, String)>;

/// Compresses the blocks of one direction.
pub struct Encoder {
    zlib: Compress,
    fresh: bool,
}

impl Encoder {
    /// For a new connection.
    pub fn new() -> Self {
        Self {
            zlib: Compress::new(Compression::best(), true),
            fresh: true,
        }
    }

    /// One block.
    pub fn encode(&mut self, headers: &Headers) -> io::Result<Vec<u8>> {
        if std::mem::take(&mut self.fresh) {
            self.zlib
                .set_dictionary(&dictionary())
                .map_err(io::Error::other)?;
        }
        let mut plain = Vec::new();
        let put = |out: &mut Vec<u8>, text: &str| {
            out.extend_from_slice(&(text.len() as u32).to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        };
        plain.extend_from_slice(&(headers.len() as u32).to_be_bytes());
        for (name, value) in headers {
            put(&mut plain, &name.to_ascii_lowercase());
            put(&mut plain, value);
        }
        let mut out = Vec::with_capacity(plain.len() + 64);
        let start = self.zlib.total_in();
        loop {
            let done = (self.zlib.total_in() - start) as usize;
            let before = out.len();
            out.reserve(1024);
            self.zlib
                .compress_vec(&plain[done..], &mut out, FlushCompress::Sync)
                .map_err(io::Error::other)?;
            let all_in = (self.zlib.total_in() - start) as usize == plain.len();
            // Room left over means that the flush is complete.
            if all_in && (out.len() < out.capacity() || out.len() == before) {
                return Ok(out);
            }
        }
    }
}

/// Decompresses the blocks of one direction.
pub struct Decoder {
    zlib: Decompress,
}

impl Decoder {
    /// For a new connection.
    pub fn new() -> Self {
        Self {
            zlib: Decompress::new(true),
        }
    }

    /// One block.
    pub fn decode(&mut self, block: &[u8]) -> io::Result<Headers> {
        let plain = self.inflate(block)?;
        parse(&plain)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "spdy: malformed headers"))
    }

    fn inflate(&mut self, block: &[u8]) -> io::Result<Vec<u8>> {
        let start = self.zlib.total_in();
        let mut out = Vec::with_capacity(4096);
        loop {
            let done = (self.zlib.total_in() - start) as usize;
            let before = (done, out.len());
            if out.len() > MAX_BLOCK {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "spdy: headers are too long",
                ));
            }
            out.reserve(4096);
            match self
                .zlib
                .decompress_vec(&block[done..], &mut out, FlushDecompress::Sync)
            {
                Ok(Status::StreamEnd) => return Ok(out),
                Ok(Status::Ok | Status::BufError) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.zlib
                        .set_dictionary(&dictionary())
                        .map_err(io::Error::other)?;
                    continue;
                }
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
            let done = (self.zlib.total_in() - start) as usize;
            if (done, out.len()) == before || (done == block.len() && out.len() < out.capacity()) {
                return Ok(out);
            }
        }
    }
}

fn parse(plain: &[u8]) -> Option<Headers> {
    let mut rest = plain;
    let number = |rest: &mut &[u8]| -> Option<usize> {
        let (head, tail) = rest.split_first_chunk::<4>()?;
        *rest = tail;
        Some(u32::from_be_bytes(*head) as usize)
    };
    let text = |rest: &mut &[u8], length: usize| -> Option<String> {
        let (head, tail) = rest.split_at_checked(length)?;
        *rest = tail;
        String::from_utf8(head.to_vec()).ok()
    };
    let count = number(&mut rest)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let length = number(&mut rest)?;
        let name = text(&mut rest, length)?;
        let length = number(&mut rest)?;
        headers.push((name, text(&mut rest, length)?));
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_dictionary_is_the_one_of_the_standard() {
        let dictionary = dictionary();
        assert_eq!(dictionary.len(), 1423);
        let mut adler = (1_u32, 0_u32);
        for byte in &dictionary {
            adler.0 = (adler.0 + u32::from(*byte)) % 65_521;
            adler.1 = (adler.1 + adler.0) % 65_521;
        }
        // What zlib streams of SPDY/3 carry as the dictionary's id.
        assert_eq!(adler.1 << 16 | adler.0, 0xe3c6_a7c2);
    }

    proptest! {
        #[test]
        fn blocks_survive_in_sequence(blocks in prop::collection::vec(
            prop::collection::vec(("[a-z-]{1,20}", "[ -~]{0,300}"), 0..20), 1..6)) {
            let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
            for headers in blocks {
                let block = encoder.encode(&headers).unwrap();
                prop_assert_eq!(decoder.decode(&block).unwrap(), headers);
            }
        }

        #[test]
        fn nonsense_never_panics(block in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Decoder::new().decode(&block);
            let _ = parse(&block);
        }
    }
}
