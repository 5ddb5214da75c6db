import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { scratchDirectory } from '../support/devices.ts';
import { fakeCloudHypervisor, fakeFirecracker, fakeQemu, serving } from '../support/fake-hypervisors.ts';
import { coppice, type Ran, startCoppice } from './command.ts';
import { commandLinePool, done, refused } from './session.ts';

const MiB = 2 ** 20;
const { pool } = commandLinePool();

describe('grow --notify', () => {
  let disk = '';
  beforeAll(() => {
    done(coppice(pool, 'clone', 'base', 'vm-1'));
    disk = done(coppice(pool, 'path', 'vm-1')).trim();
  });
  const size = (): number => statSync(disk).size / MiB;
  const grow = (to: string, target: string, ...more: readonly string[]): Promise<Ran> =>
    startCoppice(pool, 'grow', 'vm-1', to, '--notify', target, ...more).ended;

  test('what can not be meant, or is not safe, is refused before anything grows', async () => {
    refused(await grow('65M', 'vmware:/run/vm.sock'), 2);
    refused(await grow('65M', 'qmp:vm.sock'), 2);
    refused(await grow('65M', 'qmp:/run/never/vm.sock'), 3);
    await using server = await serving(() => undefined);
    chmodSync(dirname(server.socket), 0o777);
    expect(refused(await grow('65M', `qmp:${server.socket}`), 2)).toContain(dirname(server.socket));
    expect(size()).toBe(64);
  });

  test('a hypervisor that refuses is told, and the same command tells it again', async () => {
    await using wrong = await fakeFirecracker([]);
    const sentence = refused(await grow('70M', `firecracker:${wrong.socket},drive=root`), 3);
    expect(sentence).toBe(
      'coppice: vm-1 has grown from 64.0 MiB to 70.0 MiB, but its hypervisor was not told: the machine has no drive root; it has none. The disk stays as it is; when that is mended, run the same command again.\n',
    );
    expect(size()).toBe(70);
    await using right = await fakeFirecracker([{ drive_id: 'root', path_on_host: disk }]);
    const told = done(await grow('70M', `firecracker:${right.socket},drive=root`));
    expect(told).toMatch(
      /^vm-1 has 70.0 MiB already\.\nTold Firecracker on .*: PATCH \/drives\/root\.\nIn the guest:\n {2}1\. /,
    );
    expect(right.asked).toHaveLength(2);
  });

  test('answers with all of it as JSON, also when that is a failure', async () => {
    await using qemu = await fakeQemu([{ device: 'virtio0', node: 'n', file: disk }]);
    expect(JSON.parse(done(await grow('80M', `qmp:${qemu.socket}`, '--json')))).toEqual({
      name: 'vm-1',
      bytes: 80 * MiB,
      previousBytes: 70 * MiB,
      inUse: false,
      loopDevices: [],
      notified: {
        kind: 'qmp',
        told: `QEMU on ${qemu.socket}: block_resize of virtio0`,
        bytes: 80 * MiB,
        reportedBytes: 80 * MiB,
        guestSteps: [expect.stringContaining('growpart'), expect.stringContaining('resize2fs')],
      },
    });
    await using other = await fakeCloudHypervisor([]);
    const { stderr, code } = await grow('81M', `cloud-hypervisor:${other.socket},disk=a`, '--json');
    expect(code).toBe(3);
    expect(JSON.parse(stderr)).toMatchObject({
      error: { code: 'not_found', message: expect.stringContaining('has grown') },
    });
    expect(size()).toBe(81);
  });

  test('runs a hook', async () => {
    const directory = scratchDirectory('hook');
    const program = join(directory, 'hook');
    writeFileSync(program, `#!/bin/sh\necho "$COPPICE_VOLUME $COPPICE_BYTES" > ${directory}/got\n`, {
      mode: 0o755,
    });
    done(await grow('90M', `hook:${program}`));
    expect(readFileSync(join(directory, 'got'), 'utf8')).toBe(`vm-1 ${90 * MiB}\n`);
  });
});
