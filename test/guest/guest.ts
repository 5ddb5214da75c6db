import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { scratchDirectory } from '../support/devices.ts';
import { accelerator } from './accelerator.ts';
import type { GuestImage } from './image.ts';

export interface GuestOptions {
  readonly image: GuestImage;
  /** What it runs, by sh; it ends when that ends. What it writes to /guest is in `directory` here. */
  readonly script: string;
  /** Files that are its disks /dev/vdb, /dev/vdc and so on. They keep what its kernel has sent to them, flushed or not. */
  readonly disks?: readonly string[];
  /** What is in /guest from the start, by name. */
  readonly files?: Readonly<Record<string, string>>;
  /** Programs of this host that are in /guest, by their paths here; it is the same Debian. */
  readonly programs?: readonly string[];
  /** What QEMU is told besides. */
  readonly qemu?: readonly string[];
  /** Mounted there at the same path, to be read. */
  readonly checkout?: string;
  /** Whether the guest can mount /usr of this host, by the tag `usr`. */
  readonly shareUsr?: boolean;
  /** Milliseconds after which it is cut off. */
  readonly timeout: number;
}

export interface GuestExit {
  /** What its script returned; undefined when it did not come to its end. */
  readonly status: number | undefined;
  readonly output: string;
  /** What the kernel said. */
  readonly console: string;
}

/**
 * A machine with a kernel of its own under QEMU: by KVM where the host lets us, else emulated, which takes some ten times as long.
 * It has no network, and is gone with the process that made it.
 */
export class Guest implements AsyncDisposable {
  /** The host's name of what the guest calls /guest. */
  readonly directory: string;
  readonly #process: ChildProcess;
  readonly #ended: Promise<unknown>;
  #console = '';

  constructor(options: GuestOptions) {
    const {
      image,
      script,
      disks = [],
      files = {},
      programs = [],
      qemu = [],
      checkout,
      shareUsr,
      timeout,
    } = options;
    this.directory = scratchDirectory('guest');
    for (const [name, content] of Object.entries({ ...files, script }))
      writeFileSync(join(this.directory, name), content);
    for (const program of programs) copyFileSync(program, join(this.directory, basename(program)));
    if (checkout !== undefined) writeFileSync(join(this.directory, 'checkout'), checkout);
    // It is killed with us, also when we are killed.
    const command = ['setpriv', '--pdeathsig', 'KILL', 'qemu-system-x86_64'];
    const share = (path: string, tag: string, more = ''): string[] => [
      '-virtfs',
      `local,path=${path},mount_tag=${tag},security_model=none,multidevs=remap${more}`,
    ];
    const drive = (file: string, more: string): string[] => [
      '-drive',
      `file=${file},format=raw,if=virtio,${more}`,
    ];
    const args = [
      ...['-machine', 'q35', ...accelerator(image)],
      ...['-smp', '2', '-m', '3072', '-display', 'none', '-nodefaults', '-no-reboot', '-serial', 'stdio'],
      ...['-kernel', image.kernel, '-initrd', image.initrd],
      ...['-append', 'console=ttyS0 root=/dev/vda ro init=/usr/local/sbin/guest-init quiet panic=-1'],
      ...drive(image.root, 'readonly=on'),
      // A guest whose power is cut has sent all that it flushed to the host's kernel, which lives on: nothing need wait for its disk.
      ...disks.flatMap((file) => drive(file, 'cache=unsafe,discard=unmap')),
      ...share(this.directory, 'guest'),
      ...(checkout === undefined ? [] : share(checkout, 'checkout', ',readonly=on')),
      ...(shareUsr ? share('/usr', 'usr', ',readonly=on') : []),
      ...qemu,
    ];
    const [program = '', ...rest] = [...command, ...args];
    this.#process = spawn(program, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#process.stdout, this.#process.stderr])
      stream?.on('data', (chunk: Buffer) => {
        this.#console = (this.#console + chunk).slice(-50_000);
      });
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), timeout);
    this.#ended = once(this.#process, 'close').finally(() => clearTimeout(timer));
  }

  /** Waits until it has ended. */
  async ended(): Promise<GuestExit> {
    await this.#ended;
    const read = (name: string): string | undefined => {
      const file = join(this.directory, name);
      return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
    };
    const status = read('status')?.trim();
    return {
      status: status === undefined || status === '' ? undefined : Number(status),
      output: read('output') ?? '',
      console: this.#console,
    };
  }

  /** Takes its power away: what its kernel had not sent to the disks is lost. */
  async cut(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.#ended;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.cut();
  }
}
