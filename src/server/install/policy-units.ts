import { commandWord } from './quoting.ts';
import { afterMounts, capabilities } from './units.ts';

/** By which a file is known to be ours, and may be replaced. */
export const policyMarker =
  '# Written by "coppice policy install", which replaces this file when it is run again.';

/**
 * systemd.timer(5): often enough for schedules of minutes, because most times there is nothing to do. What was missed while the host
 * was off is made up for at once.
 */
export function policyTimer(): string {
  return `${policyMarker}
[Unit]
Description=Coppice policies, every five minutes

[Timer]
OnCalendar=*:0/5
RandomizedDelaySec=30
Persistent=true

[Install]
WantedBy=timers.target
`;
}

/** systemd.service(5), systemd.exec(5). @param pools where each is */
export function policyService(
  { execPath, argv }: Pick<NodeJS.Process, 'execPath' | 'argv'>,
  pools: readonly string[],
): string {
  const command = [execPath, argv[1] ?? '', 'policy', 'apply', ...pools.flatMap((path) => ['--pool', path])];
  const lines = [
    policyMarker,
    '[Unit]',
    'Description=Coppice policies: snapshots by schedule, and which of them are kept',
    '# Only an order, where such a mount is part of the boot at all: a pool that is not there is told as a failure.',
    ...afterMounts(new Map(pools.map((path) => [path, path]))).map((unit) => `After=${unit}`),
    '',
    '[Service]',
    'Type=oneshot',
    `ExecStart=${command.map(commandWord).join(' ')}`,
    'Nice=5',
    '# What was begun is ended by it alone. One thing goes on: the watchdog that lets applications go on, also when this has died.',
    'KillMode=process',
    'TimeoutStartSec=2h',
    'TimeoutStopSec=120',
    'UMask=0077',
    '',
    '# No line here makes a mount namespace, for the reasons that coppice.service gives. Programs of your own that run around a snapshot',
    '# have no more rights than this: what they need beside goes into a file of your own, by "systemctl edit".',
    'NoNewPrivileges=yes',
    `CapabilityBoundingSet=${capabilities.join(' ')}`,
    'RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK',
    'SystemCallArchitectures=native',
    'SystemCallFilter=~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap',
    'SystemCallErrorNumber=EPERM',
    'LockPersonality=yes',
    'RestrictRealtime=yes',
    'KeyringMode=private',
  ];
  return `${lines.join('\n')}\n`;
}
