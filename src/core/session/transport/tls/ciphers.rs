//! Ciphers by the names of OpenSSL, which Python's `ssl` module uses.

use tokio_rustls::rustls::SupportedCipherSuite;
use tokio_rustls::rustls::crypto::ring::cipher_suite as suite;

/// OpenSSL's names of what there is. Those of TLS 1.3 are the standard's own.
const NAMES: [(&str, SupportedCipherSuite); 9] = [
    ("TLS_AES_256_GCM_SHA384", suite::TLS13_AES_256_GCM_SHA384),
    ("TLS_AES_128_GCM_SHA256", suite::TLS13_AES_128_GCM_SHA256),
    ("TLS_CHACHA20_POLY1305_SHA256", suite::TLS13_CHACHA20_POLY1305_SHA256),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-RSA-AES256-GCM-SHA384", suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-RSA-AES128-GCM-SHA256", suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-RSA-CHACHA20-POLY1305", suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// Words of OpenSSL that every suite here satisfies.
const ALL: [&str; 4] = ["DEFAULT", "COMPLEMENTOFDEFAULT", "HIGH", "ALL"];

/// Words of OpenSSL for what no suite here is or has: taking it out changes nothing.
const NEVER: [&str; 24] = [
    "aNULL", "eNULL", "NULL", "EXP", "EXPORT", "LOW", "MEDIUM", "MD5", "SHA1", "SHA", "RC4", "RC2", "DES",
    "3DES", "IDEA", "SEED", "CAMELLIA", "ARIA", "PSK", "SRP", "DSS", "kRSA", "ADH", "AECDH",
];

/// The suites that a list in OpenSSL's notation allows.
///
/// As with OpenSSL, a list without a suite of TLS 1.3 is about TLS 1.2 only, and those of TLS 1.3 stay.
///
/// # Errors
/// A sentence about the entries that cannot be honoured.
pub fn allowed(list: &str) -> Result<Vec<SupportedCipherSuite>, String> {
    let (mut chosen, mut unknown) = (Vec::new(), Vec::new());
    for word in list.split([':', ',', ' ']).map(str::trim).filter(|word| !word.is_empty()) {
        if ALL.contains(&word) {
            chosen.extend(NAMES.iter().map(|(_, suite)| *suite));
        } else if let Some((_, suite)) = NAMES.iter().find(|(name, _)| *name == word) {
            chosen.push(*suite);
        } else if !word.strip_prefix(['!', '-']).is_some_and(|word| NEVER.contains(&word)) {
            unknown.push(word);
        }
    }
    let known = || NAMES.map(|(name, _)| name).join(", ");
    if !unknown.is_empty() {
        return Err(format!(
            "{} cannot be used here; write names of {}, with ':' between them, or remove the setting",
            unknown.join(", "),
            known()
        ));
    }
    if chosen.is_empty() {
        return Err(format!("no cipher is left; write names of {}, or remove the setting", known()));
    }
    let is_13 = |suite: &SupportedCipherSuite| suite.tls13().is_some();
    let names_13 = chosen.iter().any(is_13);
    // In the order of preference above, each once.
    let wanted = |suite: &SupportedCipherSuite| chosen.contains(suite) || (is_13(suite) && !names_13);
    Ok(NAMES.into_iter().map(|(_, suite)| suite).filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<&'static str> {
        let allowed = allowed(list).unwrap();
        NAMES.into_iter().filter(|(_, suite)| allowed.contains(suite)).map(|(name, _)| name).collect()
    }

    const OF_13: [&str; 3] =
        ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"];

    /// C42: as Python's `set_ciphers`, which leaves TLS 1.3 alone.
    #[test]
    fn a_list_of_names_is_about_tls_1_2() {
        let two = names("ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305");
        assert_eq!(two[..3], OF_13);
        assert_eq!(two[3..], ["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-AES256-GCM-SHA384"]);
    }

    #[test]
    fn a_name_of_tls_1_3_is_about_that_too() {
        assert_eq!(names("TLS_AES_128_GCM_SHA256"), ["TLS_AES_128_GCM_SHA256"]);
    }

    #[test]
    fn the_usual_words_are_understood() {
        assert_eq!(names("HIGH:!aNULL:!MD5").len(), NAMES.len());
        assert_eq!(names("DEFAULT").len(), NAMES.len());
    }

    /// C42: never silently weaker, or stronger: what cannot be honoured is named.
    #[test]
    fn what_cannot_be_honoured_is_named() {
        let problem =
            allowed("ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA:!ECDHE-RSA-AES128-GCM-SHA256").unwrap_err();
        assert!(problem.starts_with("AES128-SHA, !ECDHE-RSA-AES128-GCM-SHA256 cannot be used"), "{problem}");
        assert!(allowed("!aNULL").unwrap_err().starts_with("no cipher is left"));
    }
}
