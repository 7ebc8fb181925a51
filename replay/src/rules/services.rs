//! Ports by the names that rules use for them (IANA's service names).

#[rustfmt::skip]
const SERVICES: &[(&str, u16)] = &[
    ("ftp-data", 20), ("ftp", 21), ("ssh", 22), ("telnet", 23), ("smtp", 25), ("time", 37), ("whois", 43),
    ("domain", 53), ("tftp", 69), ("finger", 79), ("http", 80), ("kerberos", 88), ("pop3", 110), ("sunrpc", 111),
    ("ntp", 123), ("netbios-ns", 137), ("netbios-ssn", 139), ("imap", 143), ("imap2", 143), ("snmp", 161),
    ("bgp", 179), ("irc", 194), ("ldap", 389), ("https", 443), ("microsoft-ds", 445), ("submission", 587),
    ("syslog", 514), ("ldaps", 636), ("imaps", 993), ("pop3s", 995), ("socks", 1080), ("ms-sql-s", 1433),
    ("nfs", 2049), ("docker", 2375), ("mysql", 3306), ("ms-wbt-server", 3389), ("postgresql", 5432),
    ("amqp", 5672), ("redis", 6379), ("http-alt", 8080),
];

pub(super) fn port(name: &str) -> Option<u16> {
    SERVICES
        .iter()
        .find(|service| service.0 == name)
        .map(|service| service.1)
}
