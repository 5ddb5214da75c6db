import { call } from './system-calls.ts';

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_DOMAIN = 39;

/** Whether a descriptor is a socket of this host, to which the network does not lead. @throws SystemError where it is no socket */
export function isUnixSocket(fd: number): boolean {
  const domain = Buffer.alloc(4);
  const length = Buffer.alloc(4);
  length.writeInt32LE(domain.length);
  call('getsockopt', `the descriptor ${fd}`, fd, SOL_SOCKET, SO_DOMAIN, domain, length);
  return domain.readInt32LE(0) === AF_UNIX;
}

/** Who has connected to a unix socket, as the kernel noted it then. @throws SystemError */
export function peerCredentials(fd: number): {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
} {
  const credentials = Buffer.alloc(12);
  const length = Buffer.alloc(4);
  length.writeInt32LE(credentials.length);
  call('getsockopt', 'a connection', fd, SOL_SOCKET, SO_PEERCRED, credentials, length);
  return {
    pid: credentials.readInt32LE(0),
    uid: credentials.readUInt32LE(4),
    gid: credentials.readUInt32LE(8),
  };
}

/** An open datagram socket of this host, with no name. */
export function unixDatagramSocket(): number {
  return call('socket', 'a socket', AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
}

/**
 * Sends a datagram to a unix socket. Never waits: a receiver who is full misses it.
 * @param name a path, or an abstract name that begins with "@"
 * @throws SystemError
 */
export function sendDatagram(fd: number, name: string, text: string): void {
  const MSG_DONTWAIT = 0x40;
  const MSG_NOSIGNAL = 0x4000;
  const path = Buffer.from(name.startsWith('@') ? `\0${name.slice(1)}` : name);
  const address = Buffer.alloc(2 + path.length + (name.startsWith('@') ? 0 : 1));
  address.writeUInt16LE(AF_UNIX);
  path.copy(address, 2);
  const data = Buffer.from(text);
  call('sendto', name, fd, data, data.length, MSG_DONTWAIT | MSG_NOSIGNAL, address, address.length);
}
