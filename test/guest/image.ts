import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Descriptor } from '../../src/linux/files.ts';
import { lock } from '../../src/linux/locks.ts';
import { findProgram } from '../../src/linux/programs.ts';
import { aptSettings, codename, debianSources, run } from '../support/debian.ts';
import { scratchDirectory } from '../support/devices.ts';

/** What a guest boots from. */
export interface GuestImage {
  readonly kernel: string;
  readonly initrd: string;
  /** A disk with a Debian on it, which every guest reads and none writes. */
  readonly root: string;
}

export interface AvailableImage {
  /** Undefined where there can't be one. */
  readonly image: GuestImage | undefined;
  /** For the title of tests that need it: empty, or why they are skipped. */
  readonly unless: string;
}

/** What is in it beside the kernel: ZFS, and what the tests of other pools use. */
const packages = [
  'linux-image-amd64',
  'linux-headers-amd64',
  'zfs-dkms',
  'zfsutils-linux',
  'udev',
  'kmod',
  'btrfs-progs',
  'xfsprogs',
  'e2fsprogs',
  'mount',
  'procps',
  'strace',
  'qemu-utils',
  'bubblewrap',
  'dmsetup',
];

/**
 * A Debian of its own for guests, with the kernel of the release that runs here and ZFS built for it: the same whatever else is
 * installed on the host. It takes minutes to make, so it is kept in the user's cache. Where it can't be made, tests are skipped,
 * but not in CI.
 */
export async function guestImage(): Promise<AvailableImage> {
  const reason = whyNot();
  if (reason !== undefined) return { image: undefined, unless: ` (skipped: no guest: ${reason})` };
  const cache = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'coppice');
  mkdirSync(cache, { recursive: true, mode: 0o700 });
  using guard = new Descriptor(openSync(cache, 'r'));
  const directory = join(cache, `guest-${recipe()}`);
  if (!existsSync(directory)) {
    // Another file's tests may be making it; who waits in the kernel can't answer those who watch over it.
    while (!lock(guard.fd, 'exclusive', false)) await delay(200);
    try {
      if (!existsSync(directory)) await make(directory);
    } catch (error) {
      if (process.env['CI'] || !(error instanceof Error)) throw error;
      const why = error.message.trim().split('\n').at(-1)?.trim() ?? '';
      return { image: undefined, unless: ` (skipped: no guest: ${why})` };
    }
    for (const old of readdirSync(cache).filter((name) => name.startsWith('guest-')))
      if (join(cache, old) !== directory) rmSync(join(cache, old), { recursive: true });
  }
  const file = (name: string): string => join(directory, name);
  return {
    image: { kernel: file('vmlinuz'), initrd: file('initrd'), root: file('root.img') },
    unless: '',
  };
}

/** What no installation could mend. */
function whyNot(): string | undefined {
  if (process.arch !== 'x64') return 'it is built for x86-64 only';
  if (!findProgram('apt-get')) return 'this is no Debian';
  const missing = ['qemu-system-x86_64', 'mmdebstrap', 'mke2fs'].find((program) => !findProgram(program));
  if (missing === undefined) return undefined;
  if (process.env['CI']) throw new Error(`Tests in a guest need ${missing}; npm test installs it.`);
  return `there is no ${missing}`;
}

/** Another one is made when anything changes that goes into it. */
function recipe(): string {
  const hash = createHash('sha256');
  for (const part of [readFileSync(import.meta.filename), readFileSync(initScript), codename()])
    hash.update(part).update('\0');
  return hash.digest('hex').slice(0, 16);
}

const initScript = join(import.meta.dirname, 'init.sh');

async function make(directory: string): Promise<void> {
  console.log(
    'making the Debian of the guests, with ZFS built for its kernel; this takes some minutes, once',
  );
  const work = scratchDirectory('guest-image');
  const [tree, settings, sources] = [join(work, 'tree'), join(work, 'apt.conf'), join(work, 'sources.list')];
  writeFileSync(settings, aptSettings());
  // ZFS is not in main, because of its licence.
  writeFileSync(
    sources,
    debianSources(work)
      .map((line) => line.replace(/ main$/, ' main contrib'))
      .join('\n'),
  );
  const hooks = [
    // Only what it boots from; all else is loaded from its own disk.
    'printf "virtio_pci\\nvirtio_blk\\next4\\noverlay\\n" > "$1/etc/initramfs-tools/modules"',
    'echo MODULES=list > "$1/etc/initramfs-tools/conf.d/guest"',
    'chroot "$1" sh -c "mkinitramfs -o /boot/guest-initrd \\$(ls /lib/modules)"',
    'chroot "$1" sh -c "modinfo -k \\$(ls /lib/modules) zfs > /dev/null"',
    `cp ${initScript} "$1/usr/local/sbin/guest-init"`,
    'chmod 755 "$1/usr/local/sbin/guest-init"',
    // What ZFS was built with.
    'rm -rf "$1"/usr/src/* "$1"/var/lib/dkms "$1"/usr/lib/gcc "$1"/usr/include "$1"/usr/share/doc "$1"/usr/share/man "$1"/usr/share/locale "$1"/boot/initrd.img-* "$1"/var/cache/apt/*',
  ];
  const options = [
    '--quiet',
    '--mode=root',
    '--format=directory',
    '--variant=apt',
    '--dpkgopt=force-unsafe-io',
    `--aptopt=${settings}`,
    '--aptopt=Apt::Install-Recommends "false"',
    `--include=${packages.join()}`,
    ...hooks.map((hook) => `--customize-hook=${hook}`),
  ];
  // What it mounts can be seen by nobody else, and is gone with it, however it ends.
  await promisify(execFile)(
    'unshare',
    ['--mount', '--', 'mmdebstrap', ...options, codename(), tree, sources],
    { env: { ...process.env, TMPDIR: work }, maxBuffer: 2 ** 26 },
  );
  const unfinished = `${directory}.unfinished`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { mode: 0o700 });
  const kernel = readdirSync(join(tree, 'boot')).find((name) => name.startsWith('vmlinuz-'));
  if (kernel === undefined) throw new Error('the Debian that was made has no kernel');
  run('cp', ['--', join(tree, 'boot', kernel), join(unfinished, 'vmlinuz')]);
  run('cp', ['--', join(tree, 'boot/guest-initrd'), join(unfinished, 'initrd')]);
  const image = join(unfinished, 'root.img');
  run('mke2fs', ['-q', '-t', 'ext4', '-O', '^has_journal', '-m', '0', '-d', tree, image, '1600M']);
  rmSync(work, { recursive: true });
  renameSync(unfinished, directory);
}
