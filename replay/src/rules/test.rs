//! Comparisons with their values parsed: what is left to do when an event comes.

use super::{
    pattern::{PathPrefix, contains, contains_ignoring_case, glob},
    regex,
    syntax::Modifier,
};
use hashbrown::HashSet;
use std::{cmp::Ordering, net::IpAddr, sync::Arc};

/// Of texts (bytes).
#[derive(Clone, Debug)]
pub(super) enum TextTest {
    Equal(Vec<u8>),
    NotEqual(Vec<u8>),
    Order(Order, Vec<u8>),
    In(Arc<HashSet<Vec<u8>>>),
    Contains(Vec<u8>),
    /// In lower case.
    ContainsIgnoringCase(Vec<u8>),
    StartsWith(Vec<u8>),
    EndsWith(Vec<u8>),
    Glob(Vec<u8>, bool),
    Below(Arc<[PathPrefix]>),
    Regex(::regex::Regex),
    Many(Modifier, Box<[TextTest]>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Order {
    pub fn holds(self, ordering: Ordering) -> bool {
        match self {
            Order::Less => ordering.is_lt(),
            Order::LessEqual => ordering.is_le(),
            Order::Greater => ordering.is_gt(),
            Order::GreaterEqual => ordering.is_ge(),
        }
    }
}

impl TextTest {
    pub fn holds(&self, text: &[u8]) -> bool {
        match self {
            TextTest::Equal(value) => text == value,
            TextTest::NotEqual(value) => text != value,
            TextTest::Order(order, value) => order.holds(text.cmp(value)),
            TextTest::In(values) => values.contains(text),
            TextTest::Contains(value) => contains(text, value),
            TextTest::ContainsIgnoringCase(value) => contains_ignoring_case(text, value),
            TextTest::StartsWith(value) => text.starts_with(value),
            TextTest::EndsWith(value) => text.ends_with(value),
            TextTest::Glob(pattern, ignore_case) => glob(pattern, text, *ignore_case),
            TextTest::Below(paths) => paths.iter().any(|path| path.covers(text)),
            TextTest::Regex(regex) => regex::matches(regex, text),
            TextTest::Many(modifier, tests) => many(*modifier, tests, |test| test.holds(text)),
        }
    }

    /// How long it takes, roughly: cheap checks of an `and` go first.
    pub fn cost(&self) -> u32 {
        match self {
            TextTest::Equal(_) | TextTest::NotEqual(_) | TextTest::Order(..) => 1,
            TextTest::In(_) | TextTest::StartsWith(_) | TextTest::EndsWith(_) => 2,
            TextTest::Contains(_) => 4,
            TextTest::ContainsIgnoringCase(_) | TextTest::Glob(..) | TextTest::Below(_) => 6,
            TextTest::Regex(_) => 15,
            TextTest::Many(_, tests) => 2 + tests.iter().map(TextTest::cost).sum::<u32>(),
        }
    }
}

fn many<T>(modifier: Modifier, tests: &[T], holds: impl Fn(&T) -> bool) -> bool {
    match modifier {
        Modifier::Any => tests.iter().any(holds),
        Modifier::All => tests.iter().all(holds),
        Modifier::One => tests.iter().filter(|test| holds(test)).take(2).count() == 1,
    }
}

/// Of numbers.
#[derive(Clone, Debug)]
pub(super) enum NumberTest {
    Equal(i64),
    NotEqual(i64),
    Order(Order, i64),
    In(Arc<HashSet<i64>>),
    Many(Modifier, Box<[NumberTest]>),
}

impl NumberTest {
    pub fn holds(&self, number: i64) -> bool {
        match self {
            NumberTest::Equal(value) => number == *value,
            NumberTest::NotEqual(value) => number != *value,
            NumberTest::Order(order, value) => order.holds(number.cmp(value)),
            NumberTest::In(values) => values.contains(&number),
            NumberTest::Many(modifier, tests) => many(*modifier, tests, |test| test.holds(number)),
        }
    }
}

/// Of addresses and networks. An address is a network of one.
#[derive(Clone, Debug)]
pub(super) struct AddressTest {
    pub networks: Arc<[Network]>,
    /// `!=`: no end may fit.
    pub negated: bool,
}

impl AddressTest {
    /// Over both ends of a connection, or the one that was asked for; `None` when there is none.
    pub fn holds(&self, mut ends: impl Iterator<Item = IpAddr>) -> Option<bool> {
        let first = ends.next()?;
        let fits = |end: IpAddr| self.networks.iter().any(|network| network.contains(end));
        Some((fits(first) || ends.any(fits)) != self.negated)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// `10.0.0.0/8`, or an address alone.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address.parse().ok()?, Some(prefix.parse::<u8>().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let bits = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        let prefix = prefix.unwrap_or(bits);
        (prefix <= bits).then_some(Network { address, prefix })
    }

    pub fn is_single(&self) -> bool {
        self.prefix == if self.address.is_ipv4() { 32 } else { 128 }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let differ = |a: u128, b: u128, bits: u32| {
            let shift = bits - u32::from(self.prefix);
            a.checked_shr(shift).unwrap_or(0) != b.checked_shr(shift).unwrap_or(0)
        };
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => !differ(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => !differ(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses_only() {
        let private = Network::parse("172.16.0.0/12").unwrap();
        assert!(private.contains("172.31.255.255".parse().unwrap()));
        assert!(!private.contains("172.32.0.0".parse().unwrap()));
        assert!(!private.contains("::1".parse().unwrap()));
        let everything = Network::parse("0.0.0.0/0").unwrap();
        assert!(everything.contains("8.8.8.8".parse().unwrap()));
        let local = Network::parse("fe80::/10").unwrap();
        assert!(local.contains("febf::1".parse().unwrap()));
        assert!(!local.contains("fec0::1".parse().unwrap()));
        assert!(
            Network::parse("::/0")
                .unwrap()
                .contains("::1".parse().unwrap())
        );
        assert!(Network::parse("1.2.3.4").unwrap().is_single());
        for wrong in ["1.2.3", "1.2.3.4/33", "1.2.3.4/-1", "::/129", "", "host"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_negated_address_test_needs_both_ends_to_differ() {
        let ends = ["10.0.0.1".parse().unwrap(), "8.8.8.8".parse().unwrap()];
        let networks: Arc<[Network]> = [Network::parse("10.0.0.0/8").unwrap()].into();
        let equal = AddressTest {
            networks: networks.clone(),
            negated: false,
        };
        let unequal = AddressTest {
            networks,
            negated: true,
        };
        assert_eq!(equal.holds(ends.into_iter()), Some(true));
        assert_eq!(unequal.holds(ends.into_iter()), Some(false));
        assert_eq!(unequal.holds(ends.into_iter().skip(1)), Some(true));
        assert_eq!(
            unequal.holds(std::iter::empty()),
            None,
            "no address: nothing to compare"
        );
    }
}
