import { sendDatagram, unixDatagramSocket } from '../../linux/sockets.ts';
import { closeDescriptor } from '../../linux/system-calls.ts';

/** How a service talks with systemd: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3). */

type Environment = Readonly<Record<string, string | undefined>>;

const firstDescriptor = 3;

/** The descriptors of sockets that systemd has opened for this process. */
export function passedSockets(environment: Environment, pid: number = process.pid): readonly number[] {
  if (environment['LISTEN_PID'] !== String(pid)) return [];
  const many = Number(environment['LISTEN_FDS'] ?? 0);
  if (!Number.isInteger(many) || many < 0 || many > 64) return [];
  return Array.from({ length: many }, (_, index) => firstDescriptor + index);
}

/** Tells systemd something, if it wants to hear. Never waits, and never fails: the service is there without it, too. */
export function notifySystemd(environment: Environment, ...states: readonly string[]): void {
  const name = environment['NOTIFY_SOCKET'];
  if (!name || !/^[@/]/.test(name)) return;
  const fd = unixDatagramSocket();
  try {
    sendDatagram(fd, name, states.join('\n'));
  } catch {
    // systemd misses it once; a watchdog that is not heard of is what it is there for.
  } finally {
    closeDescriptor(fd);
  }
}

/** Milliseconds between two signs of life that systemd wants; undefined when it wants none. */
export function watchdogInterval(environment: Environment, pid: number = process.pid): number | undefined {
  const wanted = environment['WATCHDOG_PID'];
  const microseconds = Number(environment['WATCHDOG_USEC']);
  if (wanted !== undefined && wanted !== String(pid)) return undefined;
  // Twice as often as it takes patience.
  return Number.isSafeInteger(microseconds) && microseconds > 0 ? microseconds / 2000 : undefined;
}
