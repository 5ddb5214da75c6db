import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { constants, copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runProgram } from '../../src/linux/programs.ts';
import { scratchDirectory } from '../support/devices.ts';

/**
 * A root directory of its own with processes in it, without a network, that sees nothing of the host but the kernel and its devices.
 * When the test ends, also by being killed, its processes end, and with them its mounts and loop devices.
 */
export class CleanMachine implements AsyncDisposable {
  /** Its root as the host sees it. What is mounted inside can only be seen from inside. */
  readonly root: string;
  readonly #keeper: ChildProcess;
  readonly #inside: string;

  private constructor(root: string, keeper: ChildProcess, inside: string) {
    this.root = root;
    this.#keeper = keeper;
    this.#inside = inside;
  }

  /** @param archive what is unpacked to be its root */
  static async boot(archive: string): Promise<CleanMachine> {
    const root = scratchDirectory('machine');
    runProgram('tar', ['--extract', '--numeric-owner', '--file', archive, '--directory', root]);
    const keeper = spawn(
      'unshare',
      ['--mount', '--pid', '--net', '--fork', '--kill-child', '--', 'sh', '-euc', setUp, 'sh', root],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    const [answer] = (await Promise.race([once(keeper.stdout, 'data'), once(keeper, 'exit')])) as unknown[];
    if (String(answer) !== 'ready\n') throw new Error(`the machine did not start: ${String(answer)}`);
    const inside = readFileSync(`/proc/${keeper.pid}/task/${keeper.pid}/children`, 'utf8').trim();
    return new CleanMachine(root, keeper, inside);
  }

  /** Runs a program in it; returns what it printed. @throws when it fails */
  run(program: string, ...args: readonly string[]): string {
    const options = ['--target', this.#inside, '--mount', '--pid', '--net', '--root', '--wd'];
    const { status, stdout, stderr, error } = spawnSync('nsenter', [...options, '--', program, ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      maxBuffer: 2 ** 26,
      env: {
        PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        HOME: '/root',
        LC_ALL: 'C.UTF-8',
        DEBIAN_FRONTEND: 'noninteractive',
      },
    });
    if (status === 0) return stdout;
    const reason = error?.message ?? `${stderr}${stdout}`.split('\n').slice(-20).join('\n');
    throw new Error(`${program} ${args.join(' ')} failed with ${status}: ${reason}`);
  }

  /** Puts a file of the host into it. */
  copyIn(file: string, path: string): void {
    copyFileSync(file, join(this.root, path), constants.COPYFILE_FICLONE);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#keeper, 'exit');
    this.#keeper.kill('SIGKILL');
    await ended;
  }
}

/**
 * Makes the directory the real root and not only chroot's, in which nothing could make a sandbox. The host's umount takes the host
 * away, because a clean Debian has none. The last process lives as long as its standard input is open: as long as who made it.
 */
const setUp = `
mount --bind "$1" "$1"
cd "$1"
mount --rbind /dev dev
mount --rbind /sys sys
mount -t proc proc proc
unmount=$(command -v umount)
pivot_root . mnt
cd /
"/mnt$unmount" --lazy /mnt
echo ready
exec cat
`;
