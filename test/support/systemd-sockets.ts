import { closeSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

/** The sockets that systemd has on its side, which Node can't make: one that listens and takes nobody, and one that gets datagrams. */
const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
const library = koffi.load('libc.so.6');

const socket = library.func('int socket(int, int, int)');
const bind = library.func('int bind(int, const void *, unsigned int)');
const listen = library.func('int listen(int, int)');
const recv = library.func('long recv(int, void *, size_t, int)');

const AF_UNIX = 1;
const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;

export interface BoundSocket extends Disposable {
  readonly fd: number;
}

/** Listens at a path, as a `.socket` unit does. */
export function listeningSocket(path: string): BoundSocket {
  const bound = boundSocket(AF_UNIX, SOCK_STREAM, unixAddress(path));
  succeed(Number(listen(bound.fd, 16)), 'listen');
  return bound;
}

/** Listens at a free port of the loopback interface. */
export function listeningNetworkSocket(): BoundSocket {
  const address = Buffer.alloc(16);
  address.writeUInt16LE(AF_INET);
  address.set([127, 0, 0, 1], 4);
  const bound = boundSocket(AF_INET, SOCK_STREAM, address);
  succeed(Number(listen(bound.fd, 16)), 'listen');
  return bound;
}

export interface NotifySocket extends BoundSocket {
  /** All that has come until a datagram has this line in it. */
  until(line: string): Promise<readonly string[]>;
}

/** Receives at a path what services say of themselves. */
export function notifySocket(path: string): NotifySocket {
  const bound = boundSocket(AF_UNIX, SOCK_DGRAM, unixAddress(path));
  const buffer = Buffer.alloc(4096);
  const told: string[] = [];
  return {
    ...bound,
    async until(line) {
      for (;;) {
        const length = Number(recv(bound.fd, buffer, buffer.length, MSG_DONTWAIT));
        if (length < 0) await new Promise((resolve) => setTimeout(resolve, 5));
        else {
          const datagram = buffer.toString('utf8', 0, length);
          told.push(datagram);
          if (datagram.split('\n').includes(line)) return told.splice(0);
        }
      }
    },
  };
}

/** Whether a process keeps a descriptor from the programs that it runs. */
export function closesOnExec(pid: number, fd: number): boolean {
  const [, flags = '0'] = /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8')) ?? [];
  return (Number.parseInt(flags, 8) & SOCK_CLOEXEC) !== 0;
}

function boundSocket(domain: number, type: number, address: Buffer): BoundSocket {
  const fd = succeed(Number(socket(domain, type | SOCK_CLOEXEC, 0)), 'socket');
  succeed(Number(bind(fd, address, address.length)), 'bind');
  return { fd, [Symbol.dispose]: () => closeSync(fd) };
}

function unixAddress(path: string): Buffer {
  const address = Buffer.alloc(3 + Buffer.byteLength(path));
  address.writeUInt16LE(AF_UNIX);
  address.write(path, 2);
  return address;
}

function succeed(result: number, call: string): number {
  if (result < 0) throw new Error(`${call} failed: errno ${koffi.errno()}`);
  return result;
}
