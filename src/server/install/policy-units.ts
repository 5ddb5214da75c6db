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

/** The shortest period is an hour; hosts that share a storage or an hour do not all begin at once. */
export function verifyTimer(): string {
  return `${policyMarker}
[Unit]
Description=Coppice proofs of snapshots that are due, looked for every hour

[Timer]
OnCalendar=hourly
RandomizedDelaySec=10min
Persistent=true

[Install]
WantedBy=timers.target
`;
}

type Process = Pick<NodeJS.Process, 'execPath' | 'argv'>;

/** @param pools where each is */
export function policyService(process: Process, pools: readonly string[]): string {
  return service(process, pools, {
    command: 'apply',
    description: 'Coppice policies: snapshots by schedule, and which of them are kept',
    nice: 5,
    longest: '2h',
  });
}

/** It may recover and read databases of any size. @param pools where each is */
export function verifyService(process: Process, pools: readonly string[]): string {
  return service(process, pools, {
    command: 'verify',
    description: 'Coppice proofs of snapshots that are due',
    nice: 15,
    longest: 'infinity',
  });
}

interface Duty {
  readonly command: 'apply' | 'verify';
  readonly description: string;
  readonly nice: number;
  readonly longest: string;
}

/** systemd.service(5), systemd.exec(5). */
function service(
  { execPath, argv }: Process,
  pools: readonly string[],
  { command: verb, description, nice, longest }: Duty,
): string {
  const command = [execPath, argv[1] ?? '', 'policy', verb, ...pools.flatMap((path) => ['--pool', path])];
  const lines = [
    policyMarker,
    '[Unit]',
    `Description=${description}`,
    '# Only an order, where such a mount is part of the boot at all: a pool that is not there is told as a failure.',
    ...afterMounts(new Map(pools.map((path) => [path, path]))).map((unit) => `After=${unit}`),
    '',
    '[Service]',
    'Type=oneshot',
    `ExecStart=${command.map(commandWord).join(' ')}`,
    `Nice=${nice}`,
    '# What was begun is ended by it alone. One thing goes on: the watchdog that lets applications go on, also when this has died.',
    'KillMode=process',
    `TimeoutStartSec=${longest}`,
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
