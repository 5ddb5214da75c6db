import { existsSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Descriptor } from '../../src/linux/files.ts';
import { lock } from '../../src/linux/locks.ts';
import { findProgram, runProgram } from '../../src/linux/programs.ts';
import { coppice, type Running, startCoppice } from '../e2e/command.ts';
import { commandLineDirectory, done } from '../e2e/session.ts';
import { Guest } from './guest.ts';
import { guestImage } from './image.ts';

const MiB = 2 ** 20;
const { image, unless } = await guestImage();
const agent = findProgram('qemu-ga');
const reason = unless || (agent ? '' : ' (skipped: there is no qemu-ga)');
if (reason && process.env['CI'])
  throw new Error(`Tests need a guest and qemu-ga${reason}; npm test installs it.`);

/** Does what it finds in /guest/ask-N, one after the other, and writes beside it what was said. */
const script = `
modprobe virtio_console
# Its driver asks QEMU for the ports only once it is loaded, so that the port may come after udev has settled.
until [ -e /dev/virtio-ports/org.qemu.guest_agent.0 ]; do sleep 0.1; done
mount /dev/vdb /mnt
/guest/qemu-ga -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0 -t /run -l /guest/agent.log &
(
  count=0
  while :; do
    count=$((count + 1))
    echo $count > /mnt/count
    sync /mnt/count
    echo $count > /guest/count.new
    mv /guest/count.new /guest/count
  done
) &
number=1
while :; do
  if [ -e /guest/ask-$number ]; then
    sh /guest/ask-$number > /guest/said.new 2>&1
    mv /guest/said.new /guest/said-$number
    number=$((number + 1))
  fi
  sleep 0.1
done
`;

describe.skipIf(reason !== '')(`a running machine${reason}`, () => {
  const pool = join(commandLineDirectory(), 'pool');
  const qmp = (): string => join(directory, 'qmp.sock');
  const agentSocket = (): string => join(directory, 'agent.sock');
  let guest: Guest | undefined;
  let directory = '';
  let disk = '';
  let asked = 0;

  /** Has the guest do something, and returns what that said. */
  const inGuest = async (command: string): Promise<string> => {
    const number = ++asked;
    const file = join(guest?.directory ?? '', `ask-${number}`);
    writeFileSync(`${file}.new`, command);
    renameSync(`${file}.new`, file);
    const answer = join(guest?.directory ?? '', `said-${number}`);
    await until(() => existsSync(answer), `the guest does ${command}`);
    return readFileSync(answer, 'utf8').trim();
  };
  /** How many times the writer in it has written, and flushed. */
  const written = (): number => {
    const file = join(guest?.directory ?? '', 'count');
    return existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
  };
  const goesOn = async (): Promise<void> => {
    const before = written();
    await until(() => written() > before + 2, 'the guest writes on');
  };
  /** A guest that is emulated may be slow; one that writes nothing for so long has stopped. */
  const stands = async ({ ended }: Running): Promise<number> => {
    const early = ended.then(({ stderr }) => {
      throw new Error(`It has ended before the guest stood: ${stderr}\n${agentLog()}`);
    });
    for (let before = written(); ; before = written()) {
      await Promise.race([delay(3_000), early]);
      if (written() === before) {
        early.catch(() => undefined);
        return before;
      }
    }
  };
  const agentLog = (): string => {
    const log = join(guest?.directory ?? '', 'agent.log');
    return existsSync(log) ? readFileSync(log, 'utf8') : 'The guest agent has written no log.';
  };
  /** Takes a snapshot of the running machine, in a process that waits for whoever holds the pool. */
  const freezing = (name: string, seconds: number): Running & AsyncDisposable => {
    const freeze = ['--freeze', `qemu-ga:${agentSocket()}`, '--freeze-timeout', String(seconds)];
    const running = startCoppice(pool, 'snapshot', `vm-1@${name}`, ...freeze, '--json');
    const stop = async (): Promise<void> => {
      running.process.kill('SIGKILL');
      await running.ended;
    };
    return { ...running, [Symbol.asyncDispose]: stop };
  };

  beforeAll(async () => {
    if (!image || agent === undefined) return;
    done(coppice(pool, 'pool', 'create', '--size', '4G'));
    done(coppice(pool, 'create', 'vm-1', '--size', '128M'));
    disk = done(coppice(pool, 'path', 'vm-1')).trim();
    runProgram('mkfs.ext4', ['-q', '-F', disk]);
    directory = dirname(pool);
    guest = new Guest({
      image,
      script,
      disks: [disk],
      programs: [agent],
      qemu: [
        ...['-qmp', `unix:${qmp()},server=on,wait=off`],
        ...[
          '-chardev',
          `socket,id=agent,path=${agentSocket()},server=on,wait=off`,
          '-device',
          'virtio-serial',
        ],
        ...['-device', 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0'],
      ],
      timeout: 300_000,
    });
    await goesOn();
  });
  afterAll(async () => {
    await guest?.cut();
  });

  test('sees the new size while it runs, and grows its file system', async () => {
    expect(await inGuest('cat /sys/block/vdb/size')).toBe(String((128 * MiB) / 512));
    const grown = JSON.parse(
      done(coppice(pool, 'grow', 'vm-1', '256M', '--notify', `qmp:${qmp()}`, '--json')),
    );
    expect(grown).toMatchObject({
      bytes: 256 * MiB,
      previousBytes: 128 * MiB,
      inUse: true,
      notified: { kind: 'qmp', bytes: 256 * MiB, reportedBytes: 256 * MiB },
    });
    expect(await inGuest('cat /sys/block/vdb/size')).toBe(String((256 * MiB) / 512));
    const blocks = async (): Promise<number> => Number(await inGuest('stat -f -c %b /mnt'));
    const before = await blocks();
    await inGuest('resize2fs /dev/vdb');
    expect(await blocks()).toBeGreaterThan(before * 1.8);
    await goesOn();
  });

  test('is told again by the same command, also by the name of its drive', async () => {
    const again = done(coppice(pool, 'grow', 'vm-1', '256M', '--notify', `qmp:${qmp()},device=virtio1`));
    expect(again).toMatch(
      /^vm-1 has 256 MiB already\.\nTold QEMU on .* which says it has 256 MiB now\.\nIn the guest:/,
    );
    const wrong = coppice(pool, 'grow', 'vm-1', '512M', '--notify', `qmp:${qmp()},device=virtio0`);
    expect(wrong.stderr).toMatch(
      /^coppice: vm-1 has grown from 256 MiB to 512 MiB, but .* virtio0 of the machine is /,
    );
    expect(await inGuest('cat /sys/block/vdb/size')).toBe(String((256 * MiB) / 512));
    done(coppice(pool, 'grow', 'vm-1', '512M', '--notify', `qmp:${qmp()}`));
    expect(await inGuest('cat /sys/block/vdb/size')).toBe(String((512 * MiB) / 512));
  });

  test('writes nothing while it is frozen, and what is taken then needs no recovery', async () => {
    done(coppice(pool, 'snapshot', 'vm-1@running'));
    expect(features('vm-1@running')).toContain('needs_recovery');
    using held = hold();
    await using snapshot = freezing('frozen', 30);
    const count = await stands(snapshot);
    held[Symbol.dispose]();
    const taken = JSON.parse(done(await snapshot.ended));
    expect(taken).toMatchObject({ reference: 'vm-1@frozen', consistency: 'freeze', frozenFileSystems: 1 });
    await goesOn();
    expect(features('vm-1@frozen')).not.toContain('needs_recovery');
    // The last may have been written and not told any more.
    expect([count, count + 1]).toContain(Number(contentIn('vm-1@frozen')));
  });

  test('writes again when the command that froze it was killed', async () => {
    {
      using _held = hold();
      await using snapshot = freezing('killed', 600);
      await stands(snapshot);
      snapshot.process.kill('SIGKILL');
      await snapshot.ended;
      await goesOn();
    }
    expect(coppice(pool, 'path', 'vm-1@killed').code).toBe(3);
  });

  /** Has whoever takes a snapshot wait for us. */
  function hold(): Descriptor {
    const held = new Descriptor(openSync(dirname(dirname(disk)), 'r'));
    expect(lock(held.fd, 'exclusive', false)).toBe(true);
    return held;
  }

  function features(reference: string): string {
    const snapshot = done(coppice(pool, 'path', reference)).trim();
    return /^Filesystem features: +(.*)$/m.exec(runProgram('dumpe2fs', ['-h', snapshot]))?.[1] ?? '';
  }

  function contentIn(reference: string): string {
    const snapshot = done(coppice(pool, 'path', reference)).trim();
    return runProgram('debugfs', ['-R', 'cat /count', snapshot]);
  }
});

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 2_000) throw new Error(`waited in vain until ${what}`);
    await delay(50);
  }
}
