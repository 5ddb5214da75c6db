import { type CgroupFreezer, openCgroupFreezer } from '../linux/cgroup-freezer.ts';
import { readProcess } from '../linux/processes.ts';
import { hasErrno } from '../linux/system-calls.ts';
import { CoppiceError } from '../model/errors.ts';
import { type FreezeGuard, type Freezing, requireFreezable, untilTrue } from './freezing.ts';

/** Stops all processes of a cgroup by the kernel's own means. @throws CoppiceError */
export function cgroupFreezing(path: string): Freezing {
  return new CgroupFreezing(openCgroupFreezer(path), path);
}

/** Units come and go, and each time with another cgroup: of so many locks several share one, and seldom wait for each other. */
const locks = 64n;

class CgroupFreezing implements Freezing {
  readonly turn: string;
  readonly cgroup: number;
  readonly #freezer: CgroupFreezer;
  readonly #path: string;
  readonly #key: string;
  #isOurs = false;

  constructor(freezer: CgroupFreezer, path: string) {
    this.#freezer = freezer;
    this.#path = path;
    this.#key = `${freezer.version}:${freezer.inode}`;
    this.turn = `cgroup-${freezer.inode % locks}`;
    this.cgroup = freezer.fd;
  }

  check(): void {
    const processes = this.#freezer.processes();
    requireFreezable(processes.flatMap((pid) => readProcess(pid) ?? []));
    if (processes.length > 0) return;
    throw new CoppiceError(
      'not_found',
      `There is no process in the cgroup ${this.#path}: what should be frozen does not run.`,
    );
  }

  async freeze({ turn, releaser }: FreezeGuard, signal: AbortSignal): Promise<void> {
    this.check();
    // Who has frozen it before us without taking turns, such as a container's manager, wants it to stay so.
    if (turn.isHeld(this.#key) || !this.#freezer.isTold()) {
      await releaser.tell({ cgroup: true });
      turn.begin(this.#key);
      this.#isOurs = true;
      this.#freezer.freeze();
    }
    await untilTrue(() => this.#freezer.isFrozen(), signal);
  }

  count(): number | undefined {
    try {
      return this.#freezer.isFrozen() ? this.#freezer.processes().length : undefined;
    } catch (error) {
      if (hasErrno(error, 'ENODEV', 'ENOENT')) return undefined; // it has been removed
      throw error;
    }
  }

  thaw({ turn }: FreezeGuard): void {
    if (!this.#isOurs) return;
    this.#isOurs = false;
    if (!turn.end(this.#key)) return;
    try {
      this.#freezer.thaw();
    } catch (error) {
      if (!hasErrno(error, 'ENODEV', 'ENOENT')) throw error; // it has been removed, so there is nobody in it
    }
  }

  [Symbol.dispose](): void {
    this.#freezer[Symbol.dispose]();
  }
}
