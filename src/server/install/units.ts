import { dirname, resolve } from 'node:path';
import { defaultAuditPath } from '../../engine/audit.ts';
import { unitName } from '../../engine/pools/mount-unit.ts';
import { defaultSocket } from '../listen/unix.ts';
import type { ServeFlags } from '../options.ts';
import { commandWord, listedPath, logrotatePath, wholeLine } from './quoting.ts';

/** By which a file is known to be ours, and may be replaced. */
export const marker =
  '# Written by "coppice serve --install", which replaces this file when it is run again.';

/** systemd.socket(5): it listens before the daemon runs, and goes on while that is started again, so that no client is refused. */
export function socketUnit({ socket, group }: Pick<ServeFlags, 'socket' | 'group'>): string {
  return `${marker}
[Unit]
Description=Coppice storage daemon, socket

[Socket]
ListenStream=${wholeLine(resolve(socket ?? defaultSocket))}
SocketMode=0660
SocketUser=root
SocketGroup=${commandWord(group ?? 'root')}
DirectoryMode=0755
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
`;
}

/** What it needs of root's rights; docs/daemon.md says what for. */
export const capabilities: readonly string[] = [
  'CAP_SYS_ADMIN',
  'CAP_DAC_OVERRIDE',
  'CAP_DAC_READ_SEARCH',
  'CAP_FOWNER',
  'CAP_CHOWN',
  'CAP_FSETID',
  'CAP_SYS_PTRACE',
  'CAP_LEASE',
  'CAP_LINUX_IMMUTABLE',
  // A database is asked as the user that it runs as.
  'CAP_SETUID',
  'CAP_SETGID',
  // One in a file, as the user whom the file belongs to, who is shown nothing but its directory.
  'CAP_SYS_CHROOT',
  // Applications of other users are stopped around a snapshot, and woken.
  'CAP_KILL',
  // The sandbox that images are read in is a user namespace, in which root is mapped.
  'CAP_SETFCAP',
  // The thread that answers comes before those that work.
  'CAP_SYS_NICE',
];

/** systemd.service(5), systemd.exec(5). */
export function serviceUnit(
  command: string,
  flags: Pick<ServeFlags, 'state' | 'auditLog' | 'listen'>,
  pools: ReadonlyMap<string, string>,
): string {
  const { state, auditLog, listen } = flags;
  return lines([
    marker,
    '[Unit]',
    'Description=Coppice storage daemon',
    'Requires=coppice.socket',
    'After=coppice.socket',
    '# Only an order, where such a mount is part of the boot at all: the daemon starts without its pools, and takes them up when they come.',
    ...afterMounts(pools).map((unit) => `After=${unit}`),
    ...(listen === undefined ? [] : ['Wants=network-online.target', 'After=network-online.target']),
    ...(state === undefined ? [] : [`RequiresMountsFor=${listedPath(resolve(state))}`]),
    '',
    '[Service]',
    'Type=notify',
    'NotifyAccess=main',
    `ExecStart=${command}`,
    'Restart=on-failure',
    'RestartSec=5',
    'WatchdogSec=60',
    '# What the daemon has started ends with it by itself. One thing must not: the watchdog that thaws a guest, also when the daemon has died.',
    'KillMode=process',
    'TimeoutStopSec=120',
    ...(state === undefined ? ['StateDirectory=coppice-daemon', 'StateDirectoryMode=0700'] : []),
    ...(auditLog === undefined ? ['LogsDirectory=coppice', 'LogsDirectoryMode=0750'] : []),
    'ConfigurationDirectory=coppice',
    'ConfigurationDirectoryMode=0755',
    '# For many clients and watches.',
    'LimitNOFILE=65536',
    '',
    '# No line here makes a mount namespace, as ProtectSystem=, ProtectHome=, PrivateTmp=, PrivateDevices=, ProtectKernelTunables= and',
    '# ReadOnlyPaths= would. Mounts of the host would still be seen in it, but not the other way round: directories on ZFS that the daemon',
    '# mounts would be seen by nobody else, and what the host unmounts would stay busy. No RestrictNamespaces=: images are read in a',
    '# sandbox made of them. No MemoryDenyWriteExecute=: Node compiles at run time. No DevicePolicy=: loop devices and zvols come and go.',
    'NoNewPrivileges=yes',
    `CapabilityBoundingSet=${[...capabilities, ...capabilitiesFor(listen)].join(' ')}`,
    'RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK',
    'SystemCallArchitectures=native',
    'SystemCallFilter=~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap',
    'SystemCallErrorNumber=EPERM',
    'LockPersonality=yes',
    'RestrictRealtime=yes',
    'KeyringMode=private',
    '',
    '[Install]',
    'WantedBy=multi-user.target',
    'Also=coppice.socket',
  ]);
}

/** Ports below 1024 are for those who may have them. */
function capabilitiesFor(listen: string | undefined): string[] {
  const port = Number(listen?.split(':').at(-1));
  return port < 1024 ? ['CAP_NET_BIND_SERVICE'] : [];
}

/**
 * Writers follow a rename within a second, so nothing is copied and cut, which could lose lines; and what they write until then goes into
 * the file that was renamed, which is why that is compressed a day later.
 */
export function logrotateConfiguration(auditLog: string = defaultAuditPath): string {
  return `${marker}
${logrotatePath(resolve(auditLog))} {
    daily
    rotate 30
    missingok
    notifempty
    compress
    delaycompress
    nocopytruncate
    create 0640 root root
}
`;
}

/** The mounts that a pool can lie on: its own directory, and those above it. Units that are not there order nothing. */
export function afterMounts(pools: ReadonlyMap<string, string>): string[] {
  const units = [...pools.values()].flatMap((path) => {
    if (path.startsWith('zfs:')) return ['zfs-import.target', 'zfs-mount.service'];
    const directories = [];
    for (let directory = path; directory !== '/'; directory = dirname(directory))
      directories.unshift(directory);
    return directories.map(unitName);
  });
  return [...new Set(units)];
}

function lines(all: readonly string[]): string {
  return `${all.join('\n')}\n`;
}
