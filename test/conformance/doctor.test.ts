import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  createPool,
  type Diagnosis,
  type DoctorFinding,
  doctor,
  openPool,
  persistPool,
} from '../../src/index.ts';
import { writeAttributeByPath } from '../../src/linux/attributes.ts';
import { mountOf, readMounts } from '../../src/linux/mounts.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { hasErrno, observeCalls } from '../../src/linux/system-calls.ts';
import { patternBytes, writeAt } from '../support/content.ts';
import { loopDevice, mountedFileSystem, scratchDirectory, sparseFile } from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import { type PoolPlace, poolPlace } from '../support/pool-place.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;

function loopPool(bytes = 4 * GiB, directory?: string, driver: 'btrfs' | 'xfs' = 'btrfs'): PoolPlace {
  const place = poolPlace(directory);
  createPool({ path: place.path, file: place.file, bytes, driver });
  return place;
}

/** What depends on which other pools there are on this machine, such as those of other tests. */
const others = new Set(['leftovers.loop', 'space.overcommit']);

const onBtrfs = ['btrfs.nodatacow', 'btrfs.quotas', 'btrfs.device', 'btrfs.metadata'];

/** What needs attention, as `severity id`. */
function trouble({ findings }: Diagnosis): string[] {
  return findings
    .filter(({ severity, id }) => (severity === 'warning' || severity === 'error') && !others.has(id))
    .map(({ severity, id }) => `${severity} ${id}`);
}

function find(diagnosis: Diagnosis, id: string): DoctorFinding {
  const found = diagnosis.findings.find((finding) => finding.id === id);
  if (found) return found;
  throw new Error(`no ${id} in ${JSON.stringify(diagnosis.findings, null, 1)}`);
}

function passed({ findings }: Diagnosis): string[] {
  return findings.filter(({ severity }) => severity === 'ok').map(({ id }) => id);
}

describe('a pool', () => {
  test.each(['btrfs', 'xfs'] as const)(
    'that is well, on %s, has nothing that needs attention, was tried out, and is as it was',
    async (driver) => {
      using place = loopPool(4 * GiB, undefined, driver);
      persistPool(place.path, place.boot);
      {
        await using pool = await openPool(place.path, { inline: true });
        await pool.create('v', { bytes: MiB });
      }
      const before = everything(place.path);
      const diagnosis = await doctor(place.path, place.boot);
      expect(trouble(diagnosis)).toEqual([]);
      expect(diagnosis).toMatchObject({ path: place.path, kind: 'pool' });
      expect(passed(diagnosis)).toEqual(
        expect.arrayContaining([
          'place.path',
          'reflink.probe',
          'probe.snapshot',
          'probe.exchange',
          'probe.attribute',
          'probe.lock',
          'probe.lease',
          'probe.commit',
          ...(driver === 'btrfs' ? onBtrfs : []),
          'boot.entry',
          'kernel.version',
          'kernel.node',
          'tools.mkfs.btrfs',
          'tools.sandbox',
          'tools.qemu-img',
          'loop.control',
        ]),
      );
      expect(everything(place.path)).toEqual(before);
    },
  );

  test('has all that `pool check` finds', async () => {
    using place = loopPool();
    persistPool(place.path, place.boot);
    writeFileSync(join(place.path, 'stranger'), '');
    const diagnosis = await doctor(place.path, place.boot);
    expect(trouble(diagnosis)).toEqual(['warning pool.check']);
    expect(find(diagnosis, 'pool.check').subject).toBe(join(place.path, 'stranger'));
  });

  test('with a disk that is +C among others names it', async () => {
    using place = loopPool();
    persistPool(place.path, place.boot);
    {
      await using pool = await openPool(place.path, { inline: true });
      await pool.create('plain', { bytes: MiB });
      await pool.create('marked', { bytes: MiB });
    }
    const disk = join(place.path, 'volumes/marked/data/disk.raw');
    // On a file with something in it, chattr says that it is done and does nothing.
    writeFileSync(disk, '');
    runProgram('chattr', ['+C', '--', disk]);
    truncateSync(disk, MiB);
    const diagnosis = await doctor(place.path, place.boot);
    expect(trouble(diagnosis)).toEqual(['warning btrfs.nodatacow']);
    expect(find(diagnosis, 'btrfs.nodatacow')).toMatchObject({ subject: disk });
    // It is as it says.
    await using pool = await openPool(place.path, { inline: true });
    await refusal(() => pool.clone('marked', 'clone'), 'unsupported');
  });

  test('that is mounted read-only is told once', async () => {
    using place = loopPool();
    persistPool(place.path, place.boot);
    runProgram('mount', ['-o', 'remount,ro', '--', place.path]);
    const diagnosis = await doctor(place.path, place.boot);
    expect(trouble(diagnosis)).toEqual(['error pool.check']);
    expect(find(diagnosis, 'pool.check').message).toContain('read-only');
  });

  test('with quota groups, nodatacow, autodefrag or compression is told so', async () => {
    using place = loopPool();
    persistPool(place.path, place.boot);
    runProgram('btrfs', ['quota', 'enable', place.path]);
    runProgram('mount', ['-o', 'remount,autodefrag,nodatacow', '--', place.path]);
    const diagnosis = await doctor(place.path, place.boot);
    expect(trouble(diagnosis).sort()).toEqual([
      'warning btrfs.autodefrag',
      'warning btrfs.checksums',
      'warning btrfs.quotas',
    ]);
    runProgram('mount', [
      '-o',
      'remount,noautodefrag,datacow,datasum,nodiscard,compress=zstd',
      '--',
      place.path,
    ]);
    runProgram('btrfs', ['quota', 'disable', place.path]);
    const compressed = await doctor(place.path, place.boot);
    expect(trouble(compressed)).toEqual([]);
    expect(find(compressed, 'btrfs.compress').severity).toBe('info');
    expect(find(compressed, 'space.discard').severity).toBe('info');
  });

  test.each(['btrfs', 'xfs'] as const)(
    'on %s, mounted as a boot mounts it without discard, is told what helps',
    async (driver) => {
      using host = mountedFileSystem('ext4', 2 * GiB);
      using place = poolPlace(host.path);
      createPool({ path: place.path, file: place.file, bytes: GiB, driver });
      const ids = (diagnosis: Diagnosis): string[] => diagnosis.findings.map(({ id }) => id);
      expect(ids(await doctor(place.path, place.boot))).not.toContain('loop.page-cache');
      runProgram('umount', ['--', place.path]);
      runProgram('mount', ['-o', 'loop,nodiscard', '--', place.file, place.path]);
      runProgram('losetup', ['--direct-io=off', String(mountOf(place.path)?.source)]);
      const diagnosis = await doctor(place.path, place.boot);
      expect(find(diagnosis, 'loop.page-cache')).toMatchObject({
        severity: 'info',
        remedy: `coppice pool create ${place.path} sets it to direct I/O`,
      });
      const { remedy } = find(diagnosis, 'space.discard');
      expect(remedy?.includes('remount')).toBe(driver === 'btrfs');
    },
  );

  test('whose file was deleted is told so, also when another pool is looked at', async () => {
    using place = loopPool();
    unlinkSync(place.file);
    const diagnosis = await doctor(place.path, place.boot);
    expect(trouble(diagnosis)).toEqual(['error pool.check']);
    expect(find(diagnosis, 'pool.check').message).toContain('has been deleted');
    const elsewhere = await doctor(scratchDirectory(), place.boot);
    expect(elsewhere.findings.find(({ message }) => message.includes(place.file))?.id).toBe('leftovers.loop');
  });

  test('whose file was moved since it was made to be mounted at boot is told so', async () => {
    using place = loopPool();
    persistPool(place.path, place.boot);
    persistPool(place.path, { ...place.boot, systemd: true });
    renameSync(place.file, `${place.file}.moved`);
    const diagnosis = await doctor(place.path, place.boot);
    expect(trouble(diagnosis)).toEqual(['warning boot.moved', 'warning boot.moved']);
    expect(find(diagnosis, 'boot.moved').message).toContain(`${place.file}.moved`);
    expect(find(diagnosis, 'boot.moved').remedy).toContain(`coppice pool persist ${place.path}`);
    persistPool(place.path, place.boot);
    persistPool(place.path, { ...place.boot, systemd: true });
    expect(trouble(await doctor(place.path, place.boot))).toEqual([]);
  });

  test('that is mounted by nothing at boot is told so, without alarm', async () => {
    using place = loopPool();
    const diagnosis = await doctor(place.path, place.boot);
    expect(trouble(diagnosis)).toEqual([]);
    expect(find(diagnosis, 'boot.none').severity).toBe('info');
  });

  test('on a host that is nearly full is told so, and nothing is written into it', async () => {
    using host = mountedFileSystem('ext4', 1 * GiB);
    using place = loopPool(4 * GiB, host.path);
    persistPool(place.path, place.boot);
    runProgram('fallocate', ['-l', '890M', '--', join(host.path, 'ballast')]);
    runProgram('sync', ['-f', place.path]);
    const diagnosis = await doctor(place.path, place.boot);
    expect(trouble(diagnosis)).toEqual(['error pool.check', 'warning probe.skipped']);
    expect(passed(diagnosis)).not.toContain('reflink.probe');
  });

  test('that promises more than its host has, together with another one, is told so', async () => {
    using host = mountedFileSystem('ext4', 2 * GiB);
    for (const name of ['one', 'two']) mkdirSync(join(host.path, name));
    using one = loopPool(1 * GiB, join(host.path, 'one'));
    using two = loopPool(1 * GiB, join(host.path, 'two'));
    persistPool(one.path, one.boot);
    const diagnosis = await doctor(one.path, one.boot);
    expect(trouble(diagnosis)).toEqual([]);
    expect(find(diagnosis, 'space.overcommit').severity).toBe('warning');
    for (const file of [one.file, two.file])
      expect(find(diagnosis, 'space.overcommit').message).toContain(file);
  });

  test('whose disk has counted errors is told so', async () => {
    using place = poolPlace();
    const file = sparseFile(512 * MiB, join(place.directory, 'disk'));
    {
      using loop = loopDevice(file);
      createPool({ path: place.path, device: loop.device });
      writeFileSync(join(place.path, 'volumes', 'x'), patternBytes(1, MiB));
      runProgram('umount', ['--', place.path]);
    }
    writeAt(file, Buffer.alloc(4096, 'lost'), readFileSync(file).indexOf(patternBytes(1, 4096)));
    using loop = loopDevice(file);
    runProgram('mount', ['--', loop.device, place.path]);
    expect(() => readFileSync(join(place.path, 'volumes', 'x'))).toThrow();
    const diagnosis = await doctor(place.path, place.boot);
    expect(find(diagnosis, 'btrfs.device')).toMatchObject({
      severity: 'warning',
      message: expect.stringContaining('corruption'),
    });
    expect(() => runProgram('btrfs', ['scrub', 'start', '-B', place.path])).toThrow();
    const uuid = runProgram('findmnt', ['--noheadings', '--output', 'UUID', place.path]).trim();
    try {
      expect(find(await doctor(place.path, place.boot), 'btrfs.scrub')).toMatchObject({
        severity: 'error',
        message: expect.stringMatching(/found [1-9]/),
      });
    } finally {
      rmSync(`/var/lib/btrfs/scrub.status.${uuid}`, { force: true });
    }
    runProgram('umount', ['--', place.path]);
  });

  test('of a newer format, and a copy of one, are errors', async () => {
    using place = loopPool();
    runProgram('umount', ['--', place.path]);
    mkdirSync(place.path, { recursive: true });
    using host = mountedFileSystem('ext4', 1 * GiB);
    const marker = (format: number): string =>
      JSON.stringify({
        type: 'pool',
        format,
        id: 'x',
        created: 'x',
        filesystem: 'x',
        backing: { type: 'existing' },
      });
    for (const [format, said] of [
      [1, 'is a copy'],
      [2, 'format 2'],
    ] as const) {
      writeAttributeByPath(host.path, 'user.coppice', marker(format));
      const diagnosis = await doctor(host.path, place.boot);
      expect(find(diagnosis, 'place.path')).toMatchObject({
        severity: 'error',
        message: expect.stringContaining(said),
      });
    }
  });
});

describe('a place for a pool', () => {
  const boot = (): PoolPlace['boot'] => poolPlace().boot;

  test('that is not there yet', async () => {
    const path = join(scratchDirectory(), 'not', 'yet');
    const diagnosis = await doctor(path, boot());
    expect(diagnosis).toMatchObject({ path, kind: 'absent' });
    expect(trouble(diagnosis)).toEqual([]);
    expect(find(diagnosis, 'place.path').remedy).toContain(`coppice pool create ${path}`);
  });

  test('that is a file, and no directory', async () => {
    const path = sparseFile(1);
    expect(find(await doctor(path, boot()), 'place.path')).toMatchObject({
      severity: 'error',
      message: expect.stringContaining('not a directory'),
    });
  });

  test.each(['btrfs', 'xfs'] as const)('whose pool on %s is not mounted', async (driver) => {
    using place = loopPool(4 * GiB, undefined, driver);
    runProgram('umount', ['--', place.path]);
    renameSync(place.file, `${place.path}.img`);
    const diagnosis = await doctor(place.path, place.boot);
    expect(trouble(diagnosis)).toEqual(['warning boot.unmounted']);
    writeFileSync(
      place.boot.fstab,
      `${place.path}.img ${place.path} btrfs loop,noatime,nodev,nosuid,nofail 0 0\n/x/y.img /x/y btrfs loop,nodev,nosuid,nofail 0 0\n/gone.img /other btrfs loop 0 0\n`,
    );
    const listed = await doctor(place.path, place.boot);
    expect(trouble(listed)).toEqual(['warning boot.unmounted', 'warning boot.gone']);
    expect(find(listed, 'boot.gone')).toMatchObject({ subject: '/x/y' });
  });

  test.each([
    ['btrfs', 'info', []],
    ['ext4', 'warning', ['warning place.path']],
    ['xfs', 'info', []],
  ] as const)(
    'on %s: whether it could be adopted, and nothing is left of trying',
    async (type, severity, expected) => {
      using host = mountedFileSystem(type, 5 * GiB);
      const before = everything(host.path);
      const diagnosis = await doctor(host.path, boot());
      expect(find(diagnosis, 'place.path').severity).toBe(severity);
      expect(trouble(diagnosis)).toEqual(expected);
      expect(find(diagnosis, 'reflink.probe').severity).toBe(type === 'ext4' ? 'info' : 'ok');
      expect(find(diagnosis, 'probe.exchange').severity).toBe('ok');
      if (type === 'btrfs') expect(find(diagnosis, 'probe.subvolumes').severity).toBe('ok');
      expect(everything(host.path)).toEqual(before);
    },
  );

  test('on an xfs without reflink', async () => {
    using place = poolPlace();
    const file = sparseFile(5 * GiB, place.file);
    runProgram('mkfs.xfs', ['-q', '-m', 'reflink=0', file]);
    mkdirSync(place.path);
    runProgram('mount', ['-o', 'loop', '--', file, place.path]);
    const diagnosis = await doctor(place.path, place.boot);
    expect(trouble(diagnosis)).toEqual(['warning place.path']);
    expect(find(diagnosis, 'place.path').message).toContain('without reflinks');
    expect(find(diagnosis, 'reflink.probe').severity).toBe('info');
  });

  test('in memory, read-only, full, or out of inodes', async () => {
    using place = poolPlace();
    mkdirSync(place.path);
    runProgram('mount', ['-t', 'tmpfs', '-o', 'size=5G,nr_inodes=100', 'tmpfs', place.path]);
    expect(trouble(await doctor(place.path, place.boot))).toEqual([
      'warning place.path',
      'warning place.file-system',
    ]);
    for (let number = 0; readMounts().length > 0; number++) {
      try {
        writeFileSync(join(place.path, `${number}`), '');
      } catch (error) {
        if (hasErrno(error, 'ENOSPC')) break;
        throw error;
      }
    }
    expect(trouble(await doctor(place.path, place.boot))).toEqual(
      expect.arrayContaining(['warning probe.skipped', 'warning space.inodes']),
    );
    runProgram('mount', ['-o', 'remount,ro', '--', place.path]);
    expect(trouble(await doctor(place.path, place.boot))).toContain('warning probe.skipped');
  });

  test('where an interrupted create, export or doctor has left something', async () => {
    using place = poolPlace();
    const left = {
      create: join(place.directory, '.mnt.img.coppice-partial'),
      export: join(place.directory, '.disk.raw.0b9a4f0e-1c5f-4a53-9d3c-1f4f0f7a7a11.partial'),
      doctor: join(place.directory, '.coppice-doctor-0b9a4f0e-1c5f-4a53-9d3c-1f4f0f7a7a11'),
    };
    for (const file of [left.create, left.export, join(place.directory, '.other.partial')])
      writeFileSync(file, '');
    mkdirSync(left.doctor);
    const { findings } = await doctor(place.path, place.boot);
    const subjects = findings
      .filter(({ id }) => /^leftovers\.(partial|probe)/.test(id))
      .map((each) => each.subject);
    expect(subjects.sort()).toEqual(Object.values(left).sort());
  });

  test('where a loop device holds the file of a pool that nobody has mounted', async () => {
    using place = loopPool();
    runProgram('umount', ['--', place.path]);
    using loop = loopDevice(place.file);
    const { findings } = await doctor(scratchDirectory(), place.boot);
    expect(findings.find(({ subject }) => subject === loop.device)).toMatchObject({
      id: 'leftovers.loop',
      message: expect.stringContaining(place.file),
      remedy: expect.stringContaining(`losetup --detach ${loop.device}`),
    });
  });
});

describe('a check that fails', () => {
  test('becomes a finding, the others go on, and nothing stays open or behind', async () => {
    using place = loopPool();
    using plain = mountedFileSystem('btrfs', 1 * GiB);
    const EIO = 5;
    let failed = 0;
    for (const path of [place.path, plain.path]) {
      const before = everything(path);
      for (const syscall of ['openat2', 'flock', 'ioctl', 'statx', 'fgetxattr', 'renameat2', 'mkdirat']) {
        for (let at = 1, calls = at; calls >= at; at += 4) {
          calls = 0;
          const open = readdirSync('/proc/self/fd').length;
          observeCalls((name) => (name === syscall && ++calls === at ? EIO : undefined));
          try {
            const diagnosis = await doctor(path, place.boot);
            expect(passed(diagnosis)).toContain('tools.mount');
            if (trouble(diagnosis).length > 0) failed++;
          } finally {
            observeCalls(undefined);
          }
          expect(readdirSync('/proc/self/fd').length, `${syscall} ${at}`).toBeLessThanOrEqual(open);
          if (path === place.path) await (await openPool(path, { inline: true })).close();
          expect(everything(path), `${syscall} ${at}`).toEqual(before);
        }
      }
    }
    expect(failed).toBeGreaterThan(10);
  }, 300_000);

  test.each([
    ['FICLONE', 'reflink.probe'],
    ['SNAP_CREATE', 'probe.snapshot'],
    ['and data', 'probe.exchange'],
    ['user.coppice.doctor', 'probe.attribute'],
    ['lease', 'probe.lease'],
    ['LABEL', 'probe.commit'],
  ])('a pool where %s does not work has %s as a finding', async (subject, id) => {
    using place = loopPool();
    const EOPNOTSUPP = 95;
    observeCalls((_, about) => (about.includes(subject) ? EOPNOTSUPP : undefined));
    let diagnosis: Diagnosis;
    try {
      diagnosis = await doctor(place.path, place.boot);
    } finally {
      observeCalls(undefined);
    }
    expect(trouble(diagnosis).map((each) => each.split(' ')[1])).toEqual([id]);
    expect(readdirSync(join(place.path, '.staging'))).toEqual([]);
  });
});

/** Every name below a directory. */
function everything(path: string): string[] {
  return readdirSync(path, { recursive: true }).map(String).sort();
}
