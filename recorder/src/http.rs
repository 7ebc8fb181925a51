//! Reads the beginning of an HTTP/1 message (RFC 9112): request line and Host field, or the status.
//!
//! The bytes are a container's, or from the network. The probes sent them because they begin like HTTP;
//! what then does not hold gives empty fields.

use trace_format::event::Http;

/// Longest target that is kept; a longer one loses its end.
pub const PATH_BYTES_MAX: usize = 256;
/// Of a Host field: a name (253) and a port.
const HOST_BYTES_MAX: usize = 260;
/// Longest method that is one (CONNECT, OPTIONS).
const METHOD_BYTES_MAX: usize = 7;

/// Fills in what the message says.
pub fn read(bytes: &[u8], http: &mut Http) {
    if bytes.starts_with(b"HTTP/1.") {
        http.status = status(bytes);
        return;
    }
    let line = line(bytes);
    let mut words = line.splitn(3, |&byte| byte == b' ');
    let method = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default();
    http.method = method[..method.len().min(METHOD_BYTES_MAX)].into();
    http.path = path[..path.len().min(PATH_BYTES_MAX)].into();
    http.host = host(&bytes[line.len()..]).unwrap_or_default().into();
}

/// Of `HTTP/1.1 200 OK`. A response without a number that is one counts as 999, which nobody sends: 0 is a
/// request.
fn status(bytes: &[u8]) -> u16 {
    let digits = bytes.get(9..12).unwrap_or_default();
    let text = std::str::from_utf8(digits).unwrap_or_default();
    match text.parse() {
        Ok(status) if status >= 100 => status,
        _ => 999,
    }
}

fn line(bytes: &[u8]) -> &[u8] {
    let end = bytes
        .iter()
        .position(|&byte| byte == b'\r' || byte == b'\n');
    &bytes[..end.unwrap_or(bytes.len())]
}

/// The value of the Host field, if the field is there as a whole.
fn host(fields: &[u8]) -> Option<&[u8]> {
    let mut lines = fields.split(|&byte| byte == b'\n').skip(1).peekable();
    while let Some(line) = lines.next() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // The last piece has no end of line: it may have been cut.
        if line.is_empty() || lines.peek().is_none() {
            return None;
        }
        if let Some((name, value)) = line.split_at_checked(5)
            && name.eq_ignore_ascii_case(b"host:")
        {
            let value = value.trim_ascii();
            return Some(&value[..value.len().min(HOST_BYTES_MAX)]);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &[u8]) -> Http {
        let mut http = Http::default();
        read(text, &mut http);
        http
    }

    #[test]
    fn requests_and_responses_are_read() {
        let request =
            parsed(b"GET /a?b=c HTTP/1.1\r\nAccept: */*\r\nHOST:  web:8080 \r\n\r\nHost: no\r\n");
        assert_eq!(request.method.to_vec(), b"GET");
        assert_eq!(request.path.to_vec(), b"/a?b=c");
        assert_eq!(request.host.to_vec(), b"web:8080");
        assert_eq!(request.status, 0);
        let response = parsed(b"HTTP/1.0 404 Not Found\r\nHost: x\r\n\r\n");
        assert_eq!((response.status, response.host.len()), (404, 0));
    }

    #[test]
    fn what_was_cut_is_kept_as_far_as_it_goes() {
        let whole = b"POST /upload HTTP/1.1\r\nHost: web\r\n\r\n";
        for cut in 8..whole.len() {
            let seen = parsed(&whole[..cut]);
            assert_eq!(seen.method.to_vec(), b"POST", "{cut}");
            assert!(b"/upload".starts_with(&seen.path[..]), "{cut}");
            // A value that may go on is none.
            assert!(seen.host.is_empty() || &seen.host[..] == b"web", "{cut}");
        }
        let long = [&b"GET /"[..], &[b'a'; 500]].concat();
        assert_eq!(parsed(&long).path.len(), PATH_BYTES_MAX);
    }

    #[test]
    fn what_is_no_http_is_never_a_panic_and_a_response_is_no_request() {
        for text in [
            &b"HTTP/1.1"[..],
            b"HTTP/1.1 ",
            b"HTTP/1.1 abc",
            b"HTTP/1.1 012",
            b"HTTP/1.x\xff\xff\xff\xff",
        ] {
            assert_eq!(parsed(text).status, 999);
        }
        for text in [&b""[..], b" ", b"\r\n", b"GET", b"\xff\xfe \xfd"] {
            assert_eq!(parsed(text).status, 0);
        }
    }
}
