//! What do servers show that a test starts? A certificate of the moment.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A key and a certificate for `127.0.0.1` that signs itself.
pub fn certificate(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (key, cert) = (folder.join(format!("{name}-key.pem")), folder.join(format!("{name}.pem")));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-noenc",
    ]);
    openssl.args(["-days", "2", "-subj", &format!("/CN={name}")]);
    openssl.args(["-addext", "subjectAltName=IP:127.0.0.1"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&cert);
    assert!(openssl.output().unwrap_or_else(|e| panic!("openssl is needed: {e}")).status.success());
    (cert, key)
}
