import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { type GrownDisk, type HypervisorTarget, notifyHypervisor } from '../../src/index.ts';
import { scratchDirectory, sparseFile } from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import { fakeCloudHypervisor, fakeFirecracker, fakeQemu, serving } from '../support/fake-hypervisors.ts';

const MiB = 2 ** 20;

/** A disk that has just grown. */
function grown(): GrownDisk {
  return { name: 'vm-1', path: sparseFile(20 * MiB), bytes: 20 * MiB, previousBytes: 10 * MiB };
}

describe('QEMU', () => {
  test('finds the disk by its file, resizes it, and says what QEMU has then', async () => {
    const disk = grown();
    const other = sparseFile(5 * MiB);
    truncateSync(disk.path, 10 * MiB);
    await using qemu = await fakeQemu([
      { device: 'cd', node: '#block1', file: other },
      {
        qdev: '/machine/peripheral/root/virtio-backend',
        node: '#block2',
        file: join(disk.path, '..', 'disk.img'),
      },
    ]);
    truncateSync(disk.path, 20 * MiB);
    const notified = await notifyHypervisor({ kind: 'qmp', socket: qemu.socket }, disk);
    expect(notified).toMatchObject({ kind: 'qmp', bytes: 20 * MiB, reportedBytes: 20 * MiB });
    expect(notified.told).toContain('block_resize of root');
    expect(notified.guestSteps.join('\n')).toMatch(/growpart[\s\S]*resize2fs/);
    expect(qemu.asked).toEqual([
      'qmp_capabilities',
      'query-block',
      `block_resize {"node-name":"#block2","size":${20 * MiB}}`,
      'query-block',
    ]);
  });

  test.each(['drive0', '/machine/peripheral/root/virtio-backend', 'root', '#block2'])(
    'takes %s as the device',
    async (device) => {
      const disk = grown();
      const qdev = '/machine/peripheral/root/virtio-backend';
      await using qemu = await fakeQemu([{ device: 'drive0', qdev, node: '#block2', file: disk.path }]);
      await notifyHypervisor({ kind: 'qmp', socket: qemu.socket, device }, disk);
      expect(qemu.asked).toContain(`block_resize {"node-name":"#block2","size":${20 * MiB}}`);
    },
  );

  test('a disk that is not there, or is another one, is refused and not resized', async () => {
    const disk = grown();
    const other = sparseFile(5 * MiB);
    await using qemu = await fakeQemu([{ device: 'a', node: 'n', file: other }]);
    const target = { kind: 'qmp', socket: qemu.socket } as const;
    const missing = await refusal(() => notifyHypervisor(target, disk), 'not_found');
    expect(missing.message).toContain(
      `vm-1 has grown from 10.0 MiB to 20.0 MiB, but its hypervisor was not told`,
    );
    expect(missing.message).toContain('run the same command again');
    await refusal(() => notifyHypervisor({ ...target, device: 'b' }, disk), 'not_found');
    await refusal(() => notifyHypervisor({ ...target, device: 'a' }, disk), 'invalid_argument');
    expect(statSync(other).size).toBe(5 * MiB);
  });

  test('an image with a format of its own, and one that is larger already, are left as they are', async () => {
    const disk = grown();
    await using image = await fakeQemu([{ device: 'a', node: 'n', file: disk.path, driver: 'qcow2' }]);
    await refusal(() => notifyHypervisor({ kind: 'qmp', socket: image.socket }, disk), 'unsupported');
    await using larger = await fakeQemu([{ device: 'a', node: 'n', file: disk.path }], 40 * MiB);
    await refusal(() => notifyHypervisor({ kind: 'qmp', socket: larger.socket }, disk), 'invalid_argument');
    expect([...image.asked, ...larger.asked].join()).not.toContain('block_resize');
    expect(statSync(disk.path).size).toBe(20 * MiB);
  });

  test('what says another size afterwards has not been told', async () => {
    const disk = grown();
    await using qemu = await fakeQemu([{ device: 'a', node: 'n', file: disk.path }], 10 * MiB);
    const error = await refusal(
      () => notifyHypervisor({ kind: 'qmp', socket: qemu.socket }, disk),
      'io_error',
    );
    expect(error.message).toContain('says that the disk has 10.0 MiB');
  });

  test('is told the size that the disk has by now, and cuts nothing off', async () => {
    const disk = grown();
    await using qemu = await fakeQemu([{ device: 'a', node: 'n', file: disk.path }]);
    truncateSync(disk.path, 30 * MiB);
    const notified = await notifyHypervisor({ kind: 'qmp', socket: qemu.socket }, disk);
    expect(notified).toMatchObject({ bytes: 30 * MiB, reportedBytes: 30 * MiB });
    expect(statSync(disk.path).size).toBe(30 * MiB);
  });
});

describe('Firecracker', () => {
  test('is given the path of the drive once more, as its definition wants it', async () => {
    const disk = grown();
    await using firecracker = await fakeFirecracker([
      { drive_id: 'root', is_root_device: true, path_on_host: disk.path },
    ]);
    const target = { kind: 'firecracker', socket: firecracker.socket, drive: 'root' } as const;
    const notified = await notifyHypervisor(target, disk);
    expect(notified.reportedBytes).toBeUndefined();
    expect(notified.guestSteps[0]).toContain('lsblk');
    expect(firecracker.asked).toEqual([
      'GET /vm/config',
      `PATCH /drives/root {"drive_id":"root","path_on_host":"${disk.path}"}`,
    ]);
  });

  test('in a jail, the path is that of the jail', async () => {
    await using firecracker = await fakeFirecracker([{ drive_id: 'root', path_on_host: '/jailed.raw' }]);
    await notifyHypervisor({ kind: 'firecracker', socket: firecracker.socket, drive: 'root' }, grown());
    expect(firecracker.asked[1]).toContain('"path_on_host":"/jailed.raw"');
  });

  test('another disk, another drive and a drive that is no file are refused', async () => {
    const other = sparseFile(MiB);
    await using firecracker = await fakeFirecracker([
      { drive_id: 'other', path_on_host: other },
      { drive_id: 'remote', socket: '/run/vhost.sock' },
    ]);
    const told = (drive: string): Promise<unknown> =>
      notifyHypervisor({ kind: 'firecracker', socket: firecracker.socket, drive }, grown());
    await refusal(() => told('other'), 'invalid_argument');
    await refusal(() => told('remote'), 'unsupported');
    expect((await refusal(() => told('absent'), 'not_found')).message).toContain('it has other, remote');
    expect(firecracker.asked.join()).not.toContain('PATCH');
  });
});

describe('cloud-hypervisor', () => {
  test('is told the size, as its definition wants it', async () => {
    const disk = grown();
    await using hypervisor = await fakeCloudHypervisor([{ id: '_disk0', path: disk.path }]);
    await notifyHypervisor({ kind: 'cloud-hypervisor', socket: hypervisor.socket, disk: '_disk0' }, disk);
    expect(hypervisor.asked).toEqual([
      'GET /api/v1/vm.info',
      `PUT /api/v1/vm.resize-disk {"id":"_disk0","desired_size":${20 * MiB}}`,
    ]);
  });

  test('another disk, which could lose its end, is refused', async () => {
    const other = sparseFile(100 * MiB);
    await using hypervisor = await fakeCloudHypervisor([
      { id: 'other', path: other },
      { id: 'elsewhere', path: '/not/here' },
    ]);
    const told = (disk: string): Promise<unknown> =>
      notifyHypervisor({ kind: 'cloud-hypervisor', socket: hypervisor.socket, disk }, grown());
    await refusal(() => told('other'), 'invalid_argument');
    await refusal(() => told('elsewhere'), 'invalid_argument');
    await refusal(() => told('absent'), 'not_found');
    expect(statSync(other).size).toBe(100 * MiB);
  });
});

describe('whoever answers', () => {
  const kinds: ReadonlyArray<readonly [string, (socket: string) => HypervisorTarget]> = [
    ['qmp', (socket) => ({ kind: 'qmp', socket })],
    ['firecracker', (socket) => ({ kind: 'firecracker', socket, drive: 'root' })],
    ['cloud-hypervisor', (socket) => ({ kind: 'cloud-hypervisor', socket, disk: 'root' })],
  ];

  /** What can be said in place of an answer, and how that is told. */
  const hostile = {
    silence: [() => undefined, /no answer in 0.5 s/],
    'hanging up': [(connection) => connection.destroy(), /hung up|no answer that is HTTP/],
    garbage: [
      (connection) => connection.write('\0\xff garbage\r\n\r\n{}\n'),
      /not JSON|no answer that is HTTP/,
    ],
    'an endless line': [
      (connection) => flood(connection, Buffer.alloc(2 ** 18, 0x61)),
      /too long a line|no answer that is HTTP|too much/,
    ],
    'lines without an end': [
      (connection) => flood(connection, Buffer.from('{"QMP":{}}\n{"event":"X"}\n'.repeat(10_000))),
      /too much|no answer that is HTTP/,
    ],
    'an endless body': [
      (connection) => {
        connection.write('HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n');
        flood(connection, Buffer.alloc(2 ** 18, 0x20));
      },
      /too much|not JSON|too long a line/,
    ],
    'JSON of another kind': [
      (connection) => connection.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull'),
      /no drive root|no disk root|not JSON|no answer/,
    ],
  } satisfies Record<string, readonly [(connection: import('node:net').Socket) => unknown, RegExp]>;

  const cases = kinds.flatMap(([kind, target]) =>
    Object.entries(hostile).map(([what, [serve, why]]) => [kind, what, target, serve, why] as const),
  );

  test.each(cases)('%s: %s ends in a sentence', async (_kind, what, target, serve, why) => {
    const disk = grown();
    await using server = await serving((connection) => {
      connection.on('data', () => undefined);
      serve(connection);
    });
    const error = await refusal(() =>
      notifyHypervisor(target(server.socket), disk, {
        // Who is flooded ends by himself, and not by the time.
        timeoutMilliseconds: what === 'lines without an end' ? 30_000 : 500,
      }),
    );
    expect(error.message).toMatch(why);
    expect(error.message.length).toBeLessThan(1000);
    expect(statSync(disk.path).size).toBe(disk.bytes);
  });

  test('nobody, a file, and a directory that others can write to are refused', async () => {
    const disk = grown();
    await using server = await serving(() => undefined);
    const told = (socket: string): Promise<unknown> => notifyHypervisor({ kind: 'qmp', socket }, disk);
    await refusal(() => told(disk.path), 'invalid_argument');
    await refusal(() => told(`${server.socket}-absent`), 'not_found');
    chmodSync(dirname(server.socket), 0o777);
    const error = await refusal(() => told(server.socket), 'invalid_argument');
    expect(error.message).toContain(dirname(server.socket));
  });

  test('can be cancelled', async () => {
    await using server = await serving(() => undefined);
    const controller = new AbortController();
    const told = notifyHypervisor({ kind: 'qmp', socket: server.socket }, grown(), {
      signal: controller.signal,
    });
    controller.abort();
    await refusal(() => told, 'cancelled');
  });
});

describe('a hook', () => {
  const hook = (script: string): { command: [string]; directory: string } => {
    const directory = scratchDirectory('hook');
    const program = join(directory, 'hook');
    writeFileSync(program, `#!/bin/sh\ncd ${directory} || exit 9\n${script}\n`, { mode: 0o755 });
    return { command: [program], directory };
  };

  test('gets its data by the environment, and its arguments as they are', async () => {
    const disk = grown();
    const { command, directory } = hook('env | grep ^COPPICE_ | sort > got; printf "%s|" "$@" >> got');
    await notifyHypervisor({ kind: 'hook', command: [...command, '$(id)', 'a b'] }, disk);
    expect(readFileSync(join(directory, 'got'), 'utf8')).toBe(
      `COPPICE_BYTES=${20 * MiB}\nCOPPICE_PATH=${disk.path}\nCOPPICE_PREVIOUS_BYTES=${10 * MiB}\nCOPPICE_VOLUME=vm-1\n$(id)|a b|`,
    );
  });

  test('that fails says why', async () => {
    const { command } = hook('echo nobody is at home >&2; exit 3');
    const error = await refusal(() => notifyHypervisor({ kind: 'hook', command }, grown()), 'io_error');
    expect(error.message).toContain('failed (exit code 3): nobody is at home');
  });

  test('that takes too long is killed with all that it has started', async () => {
    const { command, directory } = hook('sleep 1000 & echo $! > child; echo $$ > self; wait');
    const notified = notifyHypervisor({ kind: 'hook', command }, grown(), { timeoutMilliseconds: 1000 });
    const error = await refusal(() => notified, 'io_error');
    expect(error.message).toContain('no answer in 1 s');
    for (const file of ['child', 'self']) await gone(readFileSync(join(directory, file), 'utf8').trim());
  });

  test('that leaves something behind does not keep us waiting', async () => {
    const { command, directory } = hook('sleep 1000 & echo $! > child; exit 0');
    await notifyHypervisor({ kind: 'hook', command }, grown());
    await gone(readFileSync(join(directory, 'child'), 'utf8').trim());
  });

  test('that others can write to, or that is not there, is refused', async () => {
    const { command, directory } = hook('touch was-run');
    await refusal(
      () => notifyHypervisor({ kind: 'hook', command: [`${command[0]}-absent`] }, grown()),
      'not_found',
    );
    chmodSync(directory, 0o777);
    await refusal(() => notifyHypervisor({ kind: 'hook', command }, grown()), 'invalid_argument');
    chmodSync(directory, 0o755);
    chmodSync(command[0], 0o777);
    await refusal(() => notifyHypervisor({ kind: 'hook', command }, grown()), 'invalid_argument');
    expect(existsSync(join(directory, 'was-run'))).toBe(false);
  });
});

/** What is killed is a process for a moment more. */
async function gone(pid: string): Promise<void> {
  expect(pid).toMatch(/^\d+$/);
  for (let tries = 0; tries < 500; tries++) {
    const state = execFileSync('sh', ['-c', `ps -o stat= -p ${pid} || :`], { encoding: 'utf8' });
    if (state === '' || state.startsWith('Z')) return;
    await delay(20);
  }
  throw new Error(`process ${pid} is still there`);
}

/** Writes until the other has had enough. */
function flood(connection: import('node:net').Socket, piece: Buffer): void {
  const more = (): void => {
    while (!connection.destroyed && connection.write(piece));
  };
  connection.on('drain', more);
  more();
}
