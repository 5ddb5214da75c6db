import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Descriptor } from '../../src/linux/files.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { call, hasErrno } from '../../src/linux/system-calls.ts';
import { runDirectory } from './run-directory.ts';

let count = 0;

/** A new empty directory of this run. */
export function scratchDirectory(label = 'scratch'): string {
  const path = join(runDirectory(), `${label}-${process.pid}-${++count}`);
  mkdirSync(path);
  return path;
}

/** A sparse file of this run, or at the given path. */
export function sparseFile(bytes: number, path: string = join(scratchDirectory('file'), 'disk.img')): string {
  const fd = openSync(path, 'w', 0o600);
  ftruncateSync(fd, bytes);
  closeSync(fd);
  return path;
}

export interface LoopDevice extends Disposable {
  readonly device: string;
}

/** A loop device on a file. */
export function loopDevice(file: string): LoopDevice {
  const device = runProgram('losetup', ['--find', '--show', '--', file]).trim();
  return { device, [Symbol.dispose]: () => void runProgram('losetup', ['--detach', device]) };
}

/** A loop device without a file, of a number so high that nobody else is given it while it is free. */
export function reservedLoopDevice(): LoopDevice {
  const [LOOP_CTL_ADD, LOOP_CTL_REMOVE] = [0x4c80n, 0x4c81n];
  using control = new Descriptor(openSync('/dev/loop-control', 'r+'));
  const lowest = 1000;
  for (let number = lowest + (process.pid % 1000); ; number++) {
    try {
      call('ioctlValue', 'loop-control', control.fd, LOOP_CTL_ADD, number);
    } catch (error) {
      if (hasErrno(error, 'EEXIST')) continue;
      throw error;
    }
    return {
      device: `/dev/loop${number}`,
      [Symbol.dispose]() {
        using opened = new Descriptor(openSync('/dev/loop-control', 'r+'));
        call('ioctlValue', 'loop-control', opened.fd, LOOP_CTL_REMOVE, number);
      },
    };
  }
}

export interface MountedFileSystem extends Disposable {
  readonly path: string;
  readonly file: string;
}

/** A small file system in a file of this run, mounted. */
export function mountedFileSystem(type: 'ext4' | 'btrfs' | 'xfs', bytes: number): MountedFileSystem {
  const directory = scratchDirectory(type);
  const file = sparseFile(bytes, join(directory, 'fs.img'));
  runProgram(`mkfs.${type}`, type === 'ext4' ? ['-q', '-F', '-m', '0', file] : ['-q', '-f', file]);
  const path = join(directory, 'mnt');
  mkdirSync(path);
  runProgram('mount', ['-o', 'loop', '--', file, path]);
  return {
    path,
    file,
    [Symbol.dispose]() {
      unmountWhenFree(path);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** A loop device on a file in it, whose mount has just gone, lets go of the file a moment later. */
function unmountWhenFree(path: string): void {
  for (let tries = 0; ; tries++) {
    try {
      runProgram('umount', ['--', path]);
      return;
    } catch (error) {
      if (tries === 100) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
    }
  }
}
