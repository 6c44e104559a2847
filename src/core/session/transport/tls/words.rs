//! What goes wrong with TLS, in sentences. The same trouble is always the same sentence.

use std::io;

use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use crate::core::config::Tls;
use crate::core::session::options::SessionOptions;

/// An error of TLS, and what to do.
pub fn of(error: &Error, tls: &Tls, options: &SessionOptions) -> String {
    let target = options.target();
    match error {
        Error::InvalidCertificate(problem) => certificate(problem, tls, options),
        Error::NoCertificatesPresented => {
            format!("the broker at {target} shows no certificate: it needs one")
        }
        Error::AlertReceived(alert) => refused(*alert, tls, &target),
        Error::InvalidMessage(_) => no_tls(&target),
        Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => versions(&target),
        Error::NoApplicationProtocol => alpn(&target),
        error => format!("TLS with the broker at {target} failed ({error})"),
    }
}

/// The connection ended in the midst of the handshake.
pub(super) fn of_handshake(error: &io::Error, options: &SessionOptions) -> String {
    let target = options.target();
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            no_tls(&target)
        }
        _ => format!("the connection to {target} was lost while TLS was set up ({error})"),
    }
}

fn no_tls(target: &str) -> String {
    format!(
        "{target} does not answer in TLS: check that this port of the broker speaks TLS (8883 is usual), or remove the \
         section `tls` to connect unencrypted"
    )
}

fn versions(target: &str) -> String {
    format!(
        "the broker at {target} does not speak a version of TLS that is allowed here: see `tls_version` and \
         `minimum_version` in the section `tls`; versions before 1.2 are not spoken"
    )
}

fn alpn(target: &str) -> String {
    format!(
        "the broker at {target} takes none of the protocols in `alpn` of the section `tls`: correct it, or remove it"
    )
}

/// The broker ended it, and said why (RFC 8446 section 6.2).
fn refused(alert: AlertDescription, tls: &Tls, target: &str) -> String {
    use AlertDescription as Alert;
    let own = tls.certfile.as_deref();
    match (alert, own) {
        (Alert::CertificateRequired, _) | (Alert::BadCertificate, None) => format!(
            "the broker at {target} wants a certificate from its clients ({alert:?}): name one in `certfile` and \
             `keyfile` of the section `tls`"
        ),
        (Alert::HandshakeFailure, None) => format!(
            "the broker at {target} refuses TLS ({alert:?}): either it wants a certificate from its clients (name one \
             in `certfile` and `keyfile` of the section `tls`), or it takes none of the ciphers that are offered (see \
             `ciphers`)"
        ),
        (
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError,
            Some(own),
        ) => format!(
            "the broker at {target} does not accept the certificate in {own} ({alert:?}): check its dates, and that \
             the broker knows the authority that signed it"
        ),
        (Alert::ProtocolVersion, _) => versions(target),
        (Alert::HandshakeFailure | Alert::InsufficientSecurity, _) => format!(
            "the broker at {target} takes none of the ciphers that are offered ({alert:?}): see `ciphers` in the \
             section `tls`, and the ciphers of the broker"
        ),
        (Alert::NoApplicationProtocol, _) => alpn(target),
        (Alert::UnrecognisedName, _) => format!(
            "the broker at {target} does not know itself by that name: check `host` in the section `broker`, or \
             `server_name` in the section `tls`"
        ),
        _ => format!("the broker at {target} ended the TLS connection ({alert:?}): its log may say why"),
    }
}

fn certificate(problem: &CertificateError, tls: &Tls, options: &SessionOptions) -> String {
    use CertificateError as Problem;
    let whose = format!("the certificate of the broker at {}", options.target());
    match problem {
        Problem::ExpiredContext { not_after, .. } => {
            format!("{whose} expired on {}: the broker needs a new one", date(*not_after))
        }
        Problem::Expired => format!("{whose} has expired: the broker needs a new one"),
        Problem::NotValidYetContext { not_before, .. } => {
            format!("{whose} is valid from {} on: check the clock of this machine", date(*not_before))
        }
        Problem::NotValidYet => format!("{whose} is not valid yet: check the clock of this machine"),
        Problem::NotValidForNameContext { presented, .. } if presented.is_empty() => format!(
            "{whose} is for no name: it needs a subjectAltName with the name of the host (a common name alone is \
             not enough)"
        ),
        Problem::NotValidForNameContext { expected, presented } => format!(
            "{whose} is for {}, not for {:?}: correct `host` in the section `broker`, or write the certificate's name \
             into `server_name` of the section `tls`",
            presented.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", "),
            expected.to_str()
        ),
        Problem::NotValidForName => {
            format!("{whose} is for another name: correct `host`, or set `server_name` in the section `tls`")
        }
        Problem::UnknownIssuer => match &tls.ca_certs {
            Some(file) => format!(
                "{whose} is signed by nobody in {file}: put the certificate of the authority that signed it there \
                 (`ca_certs` in the section `tls`)"
            ),
            None => format!(
                "{whose} is signed by nobody that this machine trusts: name the certificate of its authority in \
                 `ca_certs` of the section `tls`"
            ),
        },
        Problem::Revoked => format!("{whose} was revoked: the broker needs a new one"),
        Problem::BadSignature => {
            format!(
                "{whose} is not signed by the authority that it names: check `ca_certs` in the section `tls`"
            )
        }
        Problem::InvalidPurposeContext { .. } | Problem::InvalidPurpose => {
            format!("{whose} is not for servers (extended key usage): the broker needs one that is")
        }
        Problem::UnsupportedSignatureAlgorithmContext { .. }
        | Problem::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => format!(
            "{whose} is signed in a way that is not accepted, such as with SHA-1 or a curve other than P-256 and \
             P-384: the broker needs a new one"
        ),
        problem => format!(
            "{whose} cannot be checked ({problem}): the broker needs one of X.509 version 3, with a subjectAltName"
        ),
    }
}

/// A name as rustls shows it, such as `DnsName("broker.lan")`, without what is around it.
fn plain(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner.trim_end_matches(')'));
    inner.trim_matches('"')
}

/// The day of a moment, in UTC, as 2026-11-30.
fn date(moment: UnixTime) -> String {
    // Days from 0000-03-01, counted in eras of 400 years: leap days are at the end of a year then.
    let days = moment.as_secs() / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + carry)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments_are_days() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_798_761_599, "2026-12-31"),
            (1_798_761_600, "2027-01-01"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(date(UnixTime::since_unix_epoch(Duration::from_secs(seconds))), day);
        }
    }

    #[test]
    fn names_are_shown_plainly() {
        assert_eq!(plain("DnsName(\"broker.lan\")"), "broker.lan");
        assert_eq!(plain("IpAddress(192.0.2.1)"), "192.0.2.1");
        assert_eq!(plain("something else"), "something else");
    }
}
