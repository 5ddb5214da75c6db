// The main job, shown on real data: a disk image is made from files of this machine, imported into a pool in a temporary
// file, cloned a hundred times, written to, snapshotted, damaged, rolled back, and the rollback undone. Every byte is checked.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  fstatSync,
  mkdirSync,
  opendirSync,
  openSync,
  readSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { table } from '../src/cli/table.ts';
import { hashFile, nextData } from '../src/images/raw.ts';
import { createPool, destroyPool, formatSize, openPool, type Pool } from '../src/index.ts';
import { clearDeadRuns, removeRunDirectory, runDirectory } from '../test/support/run-directory.ts';

const GiB = 2 ** 30;
const imageBytes = 2 * GiB;
const clones = 100;

// What a killed run leaves, the next one clears, and so do the tests.
clearDeadRuns();
const directory = runDirectory();
const poolPath = join(directory, 'pool');
const rows: Array<{ step: string; milliseconds: number; space: string }> = [];
let stopped = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.once(signal, () => {
    stopped = true;
  });

try {
  await main();
} finally {
  cleanUp();
}

async function main(): Promise<void> {
  const image = await timed('make an ext4 disk image from files of this machine', () => makeImage());
  const template = checksum(image);
  await timed('make a btrfs pool in a sparse file of 16 GiB', () => {
    createPool({ path: poolPath, file: join(directory, 'pool.img'), bytes: 16 * GiB });
  });
  await using pool = await openPool(poolPath);

  const expected = await sha256(image);
  await timed('import the image as a template, its SHA-256 checked', () =>
    pool.import('debian', image, { sha256: expected }),
  );
  const before = used();
  await timed(`clone it ${clones} times, all durable`, () => pool.cloneMany('debian', 'vm', clones));
  await pool.sync();
  rows.push({
    step: `space that the ${clones} clones take`,
    milliseconds: Number.NaN,
    space: formatSize(Math.max(0, used() - before)),
  });

  const disk = await pool.diskPath('vm-1');
  await timed('write a file into the file system of vm-1', () =>
    debugfs(disk, 'write /etc/os-release only-in-vm-1'),
  );
  const good = checksum(disk);
  await timed('snapshot vm-1', () => pool.snapshot('vm-1@good'));
  await timed('damage vm-1: 64 MiB of rubbish over its start', () => damage(disk));
  const damaged = checksum(disk);
  const { undo } = await timed('roll vm-1 back to the snapshot', () => pool.rollback('vm-1@good'));
  expect('vm-1 is what it was when the snapshot was taken', checksum(disk) === good);
  expect(
    'its ext4 file system is sound, with the file in it',
    isSound(disk) && debugfs(disk, 'cat only-in-vm-1').includes('PRETTY_NAME'),
  );
  await timed('undo the rollback', () => pool.rollback(String(undo)));
  expect('vm-1 is damaged again, to the byte', checksum(disk) === damaged);
  await timed('roll it back once more', () => pool.rollback('vm-1@good'));
  expect('vm-1 is good again', checksum(disk) === good);
  await timed(`read and check the template and all ${clones} clones`, () =>
    checkClones(pool, template, good),
  );

  await compareWithCopy(pool);
  report(await pool.list());
}

/** An ext4 root file system with real files in it, made without mounting anything. */
function makeImage(): string {
  const tree = join(directory, 'tree');
  let left = 160 * 2 ** 20;
  for (const from of ['/usr/sbin', '/usr/bin', '/usr/share/zoneinfo']) {
    mkdirSync(join(tree, from), { recursive: true });
    const entries = opendirSync(from);
    for (let entry = entries.readSync(); entry && left > 0; entry = entries.readSync()) {
      if (!entry.isFile()) continue;
      const file = join(from, entry.name);
      left -= statSync(file).size;
      copyFileSync(file, join(tree, file));
    }
    entries.closeSync();
  }
  mkdirSync(join(tree, 'etc'));
  copyFileSync('/etc/os-release', join(tree, 'etc/os-release'));
  const image = join(directory, 'debian.raw');
  run('mkfs.ext4', ['-q', '-F', '-L', 'root', '-d', tree, image, `${imageBytes / 1024}k`]);
  rmSync(tree, { recursive: true });
  return image;
}

async function checkClones(pool: Pool, template: string, good: string): Promise<void> {
  expect('the template is the image, byte for byte', checksum(await pool.diskPath('debian')) === template);
  for (let number = 2; number <= clones; number++) {
    if (stopped) return;
    const name = `vm-${number}`;
    if (checksum(await pool.diskPath(name)) !== template)
      expect(`${name} is the template, byte for byte`, false);
  }
  expect(`vm-2 to vm-${clones} are the template, byte for byte`, true);
  expect('the snapshot of vm-1 is what was snapshotted', checksum(await pool.diskPath('vm-1@good')) === good);
}

/** What the same would be with plain copies: one is made and measured, the rest is multiplication. */
async function compareWithCopy(pool: Pool): Promise<void> {
  const before = used();
  const source = await pool.diskPath('debian');
  await timed('for comparison: one plain copy with cp, flushed', () => {
    run('cp', ['--reflink=never', '--sparse=always', source, join(poolPath, 'copy.raw')]);
    run('sync', [join(poolPath, 'copy.raw')]);
  });
  const last = rows.at(-1);
  if (last) last.space = formatSize(used() - before);
}

function report(entries: Awaited<ReturnType<Pool['list']>>): void {
  const time = (ms: number): string =>
    Number.isNaN(ms) ? '' : ms >= 1000 ? `${(ms / 1000).toFixed(2)} s` : `${ms.toFixed(1)} ms`;
  console.log(
    `\n${table(rows, [
      { title: 'STEP', value: (row) => row.step },
      { title: 'TIME', value: (row) => time(row.milliseconds), align: 'right' },
      { title: 'SPACE', value: (row) => row.space, align: 'right' },
    ])}`,
  );
  console.log(
    `\n${entries.length} disks of ${formatSize(imageBytes)} each were in the pool. Now it is all removed again.`,
  );
}

async function timed<T>(step: string, work: () => T | Promise<T>): Promise<T> {
  if (stopped) throw new Error('stopped');
  const start = performance.now();
  const result = await work();
  rows.push({ step, milliseconds: performance.now() - start, space: '' });
  console.log(`- ${step}`);
  return result;
}

function expect(what: string, holds: boolean): void {
  console.log(`  ${holds ? 'checked' : 'WRONG'}: ${what}`);
  if (!holds) throw new Error(`not true: ${what}`);
}

/** SHA-256 of a disk's content. Zeros count the same whether they are stored or a hole, and are left out in whole pieces. */
function checksum(file: string): string {
  const fd = openSync(file, 'r');
  const { size } = fstatSync(fd);
  const piece = Buffer.alloc(1024 * 1024);
  const zeros = Buffer.alloc(piece.length);
  const hash = createHash('sha256').update(String(size));
  for (let position = nextData(fd, 0, size); position < size; position = nextData(fd, position, size)) {
    position -= position % piece.length;
    const length = readSync(fd, piece, 0, piece.length, position);
    const data = piece.subarray(0, length);
    if (!data.equals(zeros.subarray(0, length))) hash.update(`@${position}:`).update(data);
    position += length;
  }
  closeSync(fd);
  return hash.digest('hex');
}

async function sha256(file: string): Promise<string> {
  const fd = openSync(file, 'r');
  const hash = await hashFile(fd, fstatSync(fd).size, { onFraction: () => {}, signal: undefined });
  closeSync(fd);
  return hash;
}

function damage(disk: string): void {
  const fd = openSync(disk, 'r+');
  const rubbish = Buffer.alloc(64 * 2 ** 20, 'rubbish');
  writeSync(fd, rubbish, 0, rubbish.length, 0);
  closeSync(fd);
}

function debugfs(disk: string, command: string): string {
  return run('debugfs', ['-w', '-R', command, disk]);
}

function isSound(disk: string): boolean {
  return spawnSync('e2fsck', ['-f', '-n', disk], { stdio: 'ignore' }).status === 0;
}

/** Bytes taken in the pool's file system. */
function used(): number {
  run('btrfs', ['filesystem', 'sync', poolPath]);
  const { bsize, blocks, bfree } = statfsSync(poolPath);
  return (blocks - bfree) * bsize;
}

function run(program: string, args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    encoding: 'utf8',
    maxBuffer: 64 * 2 ** 20,
  });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} failed: ${error?.message ?? stderr}`);
  return stdout;
}

function cleanUp(): void {
  try {
    destroyPool(poolPath, { force: true });
  } catch {
    // There was none yet, or it is what failed; then the mount goes with force.
    spawnSync('umount', ['--lazy', poolPath], { stdio: 'ignore' });
  }
  removeRunDirectory();
}
