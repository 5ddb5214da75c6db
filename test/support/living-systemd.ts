import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readMounts } from '../../src/linux/mounts.ts';
import { hasErrno } from '../../src/linux/system-calls.ts';
import { scratchDirectory } from './devices.ts';
import { skippedWithout } from './needs.ts';
import { notifySocket } from './systemd-sockets.ts';

export interface Output {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A systemd that lives. Mounts that were there before are there, too, and what is mounted in it is seen by it alone. */
export interface LivingSystemd extends AsyncDisposable {
  /** Its root directory, as it is seen from here. */
  readonly root: string;
  run(program: string, ...args: readonly string[]): Output;
  /** The same, while this process goes on. */
  start(program: string, ...args: readonly string[]): ChildProcess;
  /** The same, of a program that has to succeed; returns what it printed. */
  done(program: string, ...args: readonly string[]): string;
  /** Writes units, by their names, and has them loaded. */
  load(units: Readonly<Record<string, string>>): void;
  /** What systemd says of a unit. */
  property(unit: string, name: string): string;
  /** What it has said on its console. */
  console(): string;
}

const systemd = '/lib/systemd/systemd';

/** For the title of tests that need one: empty, or why they are skipped. */
export const withoutSystemd: string =
  skippedWithout(systemd, '/usr/bin/nsenter') || (process.geteuid?.() === 0 ? '' : ' (skipped: not root)');

/** Units that others are ordered by; nothing of the host's own is started. */
const targets = ['sysinit', 'basic', 'shutdown', 'umount', 'local-fs', 'timers', 'sockets', 'multi-user'];

/**
 * Starts a systemd as the first process of a process namespace, as in a container, with /etc, /run, cgroups and units of its own. It is
 * killed with us, and with it all that it has started.
 */
export async function livingSystemd(): Promise<LivingSystemd> {
  const directory = scratchDirectory('living');
  const script = join(directory, 'boot');
  const log = join(directory, 'console');
  const notify = join(directory, 'notify');
  writeFileSync(log, '');
  writeFileSync(script, boot(directory, log, notify), { mode: 0o700 });
  using ready = notifySocket(notify);
  const group = newCgroup();
  // It joins its cgroup first, so that this is the root of what it sees.
  const enter = `echo $$ > ${group}/cgroup.procs && exec "$@"`;
  const unshare = [
    'unshare',
    '--pid',
    '--fork',
    '--kill-child',
    '--mount',
    '--cgroup',
    '--uts',
    '--ipc',
    '--net',
  ];
  const command = ['setpriv', '--pdeathsig', 'KILL', ...unshare, '--propagation', 'private', '--', script];
  const child = spawn('sh', ['-c', enter, 'sh', ...command], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  const died = ended.then(() => {
    throw new Error(`systemd has ended:\n${readFileSync(log, 'utf8')}`);
  });
  died.catch(() => undefined);
  await Promise.race([ready.until('READY=1'), died]);
  return living(child, ended, { log, group });
}

/** What its first process does before it becomes systemd. */
function boot(directory: string, log: string, notify: string): string {
  return `#!/bin/sh
set -e
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
# The kernel's settings are the host's.
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
umount --recursive /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# What is written to these is in memory.
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /var/log
mkdir /run/etc /run/units
mount -t tmpfs tmpfs /run/etc
mkdir /run/etc/upper /run/etc/work
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work overlay /etc
mount -t tmpfs tmpfs /etc/systemd
mkdir /etc/systemd/system
: > /etc/fstab
# Of what makes units at boot, only what reads fstab.
mkdir ${directory}/generators
cp /lib/systemd/system-generators/systemd-fstab-generator ${directory}/generators
mount --bind ${directory}/generators /lib/systemd/system-generators
# Devices as they are; what is added to them is added here.
mkdir /run/dev
mount -t tmpfs -o mode=755 tmpfs /run/dev
for device in /dev/*; do
  if [ -d "$device" ] && [ ! -L "$device" ]; then mkdir "/run$device"; else cp -a "$device" "/run$device"; fi
done
mount --move /run/dev /dev
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount --bind ${log} /dev/console
for target in ${targets.join(' ')}; do
  printf '[Unit]\\nDefaultDependencies=no\\n' > /run/units/$target.target
done
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container=coppice NOTIFY_SOCKET=${notify} \\
  SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/systemd/generator:/run/units \\
  ${systemd} --system --unit=multi-user.target --log-target=console --default-standard-output=null --show-status=no
`;
}

function living(
  child: ChildProcess,
  ended: Promise<unknown>,
  { log, group }: { readonly log: string; readonly group: string },
): LivingSystemd {
  const first = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim();
  const inside = ['--target', first, '--mount', '--pid', '--cgroup', '--uts', '--ipc', '--net', '--'];
  const options = { cwd: '/', env: { PATH: process.env['PATH'], TZ: 'UTC' } } as const;
  const root = `/proc/${first}/root`;
  const self: LivingSystemd = {
    root,
    run(program, ...args) {
      const { status, stdout, stderr } = spawnSync('nsenter', [...inside, program, ...args], {
        ...options,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      return { code: status, stdout, stderr };
    },
    start: (program, ...args) =>
      spawn('nsenter', [...inside, program, ...args], { ...options, stdio: ['pipe', 'pipe', 'pipe'] }),
    done(program, ...args) {
      const { code, stdout, stderr } = self.run(program, ...args);
      if (code === 0) return stdout;
      throw new Error(`${[program, ...args].join(' ')} ended with ${code}: ${stderr}\n${self.console()}`);
    },
    load(units) {
      for (const [name, text] of Object.entries(units)) writeFileSync(join(root, 'run/units', name), text);
      self.done('systemctl', 'daemon-reload');
    },
    property: (unit, name) =>
      self.done('systemctl', 'show', '--value', `--property=${name}`, '--', unit).trim(),
    console: () => readFileSync(log, 'utf8').slice(-4000),
    async [Symbol.asyncDispose]() {
      process.kill(Number(first), 'SIGKILL');
      await ended;
      removeCgroup(group);
    },
  };
  return self;
}

const prefix = 'coppice-test-';

/** A cgroup of version 2, below which systemd makes its own. What killed runs have left of theirs goes. */
function newCgroup(): string {
  const root = readMounts().find(({ type }) => type === 'cgroup2')?.mountPoint;
  if (root === undefined) throw new Error('Nothing of version 2 is mounted of the cgroups of this host.');
  for (const name of readdirSync(root).filter((each) => each.startsWith(prefix)))
    removeCgroup(join(root, name));
  const group = join(root, `${prefix}${process.pid}`);
  mkdirSync(group);
  return group;
}

/** Unless somebody is in it. */
function removeCgroup(group: string): void {
  try {
    for (const entry of readdirSync(group, { withFileTypes: true }))
      if (entry.isDirectory()) removeCgroup(join(group, entry.name));
    rmdirSync(group);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT', 'EBUSY')) throw error;
  }
}
