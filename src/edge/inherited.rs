//! Listening sockets that were passed at the start (systemd's socket units): while the gateway restarts, whoever connects waits
//! in their queue instead of being refused.
//!
//! They are taken by name (`FileDescriptorName=`), and each must be one that `server.*` names: a gateway that listened
//! elsewhere than its configuration says would be found out by nobody. What is configured and was not passed is bound here.

use std::env;
use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::SockRef;

/// The names that sockets are known by: keys of `[server]`.
const NAMES: [&str; 4] = ["https", "http", "relay", "admin"];

/// Sockets that were passed and not taken yet.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(String, SocketAddr, TcpListener)>);

impl Inherited {
    /// Takes what was passed to this process (`LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`), close-on-exec. To be called before
    /// there are threads, since it clears these variables.
    ///
    /// # Errors
    /// When something was passed that is no listening TCP socket, or has no name that means something here.
    pub fn from_env() -> io::Result<Self> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let mut names = names.split(':');
        let mut sockets = Self::default();
        for at in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            let Some(socket) = passed.take_tcp_listener(at)? else { continue };
            sockets.add(name, socket)?;
        }
        Ok(sockets)
    }

    fn add(&mut self, name: &str, socket: TcpListener) -> io::Result<()> {
        let address = socket.local_addr()?;
        if !NAMES.contains(&name) {
            return Err(wrong(format!(
                "a socket on {address} was passed as \"{}\": FileDescriptorName= must be one of {}",
                name.escape_debug(),
                NAMES.join(", ")
            )));
        }
        if !SockRef::from(&socket).is_listener()? {
            return Err(wrong(format!(
                "the socket that was passed as {name} does not listen; Accept= must be no"
            )));
        }
        if address.is_ipv6() && !SockRef::from(&socket).only_v6()? {
            let message = format!(
                "the socket on {address} that was passed as {name} takes IPv4, too: set BindIPv6Only=ipv6-only"
            );
            return Err(wrong(message));
        }
        socket.set_nonblocking(true)?;
        self.0.push((name.to_owned(), address, socket));
        Ok(())
    }

    /// The socket of that name and address; `None` when no socket of that name was passed.
    ///
    /// # Errors
    /// When there are sockets of that name, and none at this address.
    pub fn take(&mut self, name: &str, address: SocketAddr) -> io::Result<Option<TcpListener>> {
        let of_name = |(known, ..): &&(String, SocketAddr, TcpListener)| known == name;
        if let Some(at) = self.0.iter().position(|one| one.0 == name && one.1 == address) {
            return Ok(Some(self.0.swap_remove(at).2));
        }
        let others: Vec<String> = self.0.iter().filter(of_name).map(|(_, at, _)| at.to_string()).collect();
        if others.is_empty() {
            return Ok(None);
        }
        Err(wrong(format!(
            "`server.{name}` is {address}, and the sockets passed as {name} are on {}: make ListenStream= of the socket unit the same",
            others.join(", ")
        )))
    }

    /// Nothing may be left: a socket that nobody serves lets clients wait for ever.
    ///
    /// # Errors
    /// Names what is left.
    pub fn finish(self) -> io::Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some((name, address, _)) => Err(wrong(format!(
                "a socket on {address} was passed as {name}, and `server.{name}` does not name it: \
                 nobody would answer there"
            ))),
        }
    }
}

fn wrong(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> (TcpListener, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[test]
    fn sockets_are_taken_by_name_and_address() {
        let mut passed = Inherited::default();
        let ((one, first), (two, second)) = (socket(), socket());
        passed.add("https", one).unwrap();
        passed.add("http", two).unwrap();
        assert!(passed.take("admin", first).unwrap().is_none(), "nothing of that name: bound here");
        assert_eq!(passed.take("https", first).unwrap().unwrap().local_addr().unwrap(), first);
        let fault = passed.take("http", first).unwrap_err().to_string();
        assert!(
            fault.contains(&format!("`server.http` is {first}")) && fault.contains(&second.to_string()),
            "{fault}"
        );
        let fault = passed.finish().unwrap_err().to_string();
        assert!(fault.contains(&format!("{second} was passed as http")), "{fault}");
    }

    #[test]
    fn sockets_that_could_not_be_served_are_refused() {
        let mut passed = Inherited::default();
        let fault = passed.add("web", socket().0).unwrap_err().to_string();
        assert!(fault.contains("\"web\"") && fault.contains("https, http, relay, admin"), "{fault}");
        let both = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
        let any: SocketAddr = "[::]:0".parse().unwrap();
        both.set_only_v6(false).unwrap();
        both.bind(&any.into()).unwrap();
        let fault = passed.add("https", both.try_clone().unwrap().into()).unwrap_err().to_string();
        assert!(fault.contains("does not listen"), "{fault}");
        both.listen(1).unwrap();
        let fault = passed.add("https", both.into()).unwrap_err().to_string();
        assert!(fault.contains("BindIPv6Only"), "{fault}");
        assert!(passed.finish().is_ok());
    }
}
