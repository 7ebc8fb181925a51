//! `named`: a stub DNS resolver on loopback, part of every container's normal work.

use std::{
    io,
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

pub const PORT: u16 = 53;

/// Header and one question; more is not answered (RFC 1035, 4.2.1).
const MESSAGE_BYTES_MAX: usize = 512;
const HEADER_BYTES: usize = 12;

/// Every name is here.
const ADDRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;
const TTL_S: u32 = 30;

/// Answers every question for an address with loopback.
pub fn serve() -> i32 {
    let socket = match UdpSocket::bind((Ipv4Addr::LOCALHOST, PORT)) {
        Ok(socket) => socket,
        Err(error) => {
            eprintln!("error: named: cannot listen on port {PORT}: {error}");
            return 1;
        }
    };
    let mut message = [0; MESSAGE_BYTES_MAX];
    loop {
        // An asker that is gone is its own affair.
        let Ok((length, asker)) = socket.recv_from(&mut message) else {
            continue;
        };
        if let Some(answer) = answer(&message[..length]) {
            let _ = socket.send_to(&answer, asker);
        }
    }
}

/// The stub answers at once, or nobody does.
const ANSWER_MAX: Duration = Duration::from_millis(50);

/// Asks as a resolver's library does, with a socket for each question; the length of the answer.
pub fn look_up(id: u16, name: &str) -> io::Result<usize> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect((Ipv4Addr::LOCALHOST, PORT))?;
    socket.set_read_timeout(Some(ANSWER_MAX))?;
    socket.send(&question(id, name))?;
    socket.recv(&mut [0; MESSAGE_BYTES_MAX])
}

/// A question for the address of a name.
fn question(id: u16, name: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_BYTES + name.len() + 6);
    message.extend_from_slice(&id.to_be_bytes());
    // Recursion desired; one question.
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(label.len().min(63) as u8);
        message.extend_from_slice(&label.as_bytes()[..label.len().min(63)]);
    }
    // End of the name, type A, class IN.
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

fn answer(question: &[u8]) -> Option<Vec<u8>> {
    if question.get(4..6)? != [0, 1] {
        return None;
    }
    // Past the name: labels with their lengths, up to an empty one.
    let mut end = HEADER_BYTES;
    while *question.get(end)? != 0 {
        end += 1 + usize::from(question[end]);
    }
    let end = end + 5;
    let mut answer = question.get(..end)?.to_vec();
    // A response, recursion available; one answer.
    answer[2] |= 0x80;
    answer[3] = 0x80;
    answer[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
    // Its name is that of the question (a pointer to offset 12); type A, class IN.
    answer.extend_from_slice(&[0xc0, HEADER_BYTES as u8, 0, 1, 0, 1]);
    answer.extend_from_slice(&TTL_S.to_be_bytes());
    answer.extend_from_slice(&[0, 4]);
    answer.extend_from_slice(&ADDRESS.octets());
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_with_loopback() {
        let question = question(7, "db.internal");
        let answer = answer(&question).unwrap();
        assert_eq!(answer[..2], [0, 7]);
        assert_eq!(
            answer[HEADER_BYTES..question.len()],
            question[HEADER_BYTES..]
        );
        assert!(answer.ends_with(&[0, 4, 127, 0, 0, 1]));
    }

    #[test]
    fn what_is_cut_short_is_not_answered() {
        let question = question(7, "db.internal");
        for length in 0..question.len() {
            assert_eq!(answer(&question[..length]), None, "{length}");
        }
        let mut endless = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        endless.extend([63; 20]);
        assert_eq!(answer(&endless), None);
    }
}
