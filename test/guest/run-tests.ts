import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { actorPrograms } from '../support/actor-programs.ts';
import { sparseFile } from '../support/devices.ts';
import { bundleForGuest, programs, unpack } from './bundle.ts';
import { Guest } from './guest.ts';
import type { GuestImage } from './image.ts';
import type { GuestResult } from './reporter.ts';

export interface GuestRun {
  readonly results: readonly GuestResult[];
  /** Why not everything was run; empty when it was. */
  readonly problem: string;
}

export interface GuestRunOptions {
  /** Milliseconds; 40 minutes when absent. */
  readonly timeout?: number;
  /** Whether PostgreSQL is there as it is installed on this host, which is the same Debian. */
  readonly postgres?: boolean;
}

const GiB = 2 ** 30;

/** Runs test files of this checkout in a guest with ZFS, where /dev/vdb is an empty disk for pools. */
export async function runInGuest(
  image: GuestImage,
  files: readonly string[],
  { timeout = 40 * 60_000, postgres = false }: GuestRunOptions = {},
): Promise<GuestRun> {
  const checkout = process.cwd();
  // The tests of databases start programs of their own from their sources.
  const { run, bundled } = postgres ? fromSources(files) : await fromBundles(checkout, files);
  const script = `${prepare(checkout)}${postgres ? withHostsPostgres() : ''}
export COPPICE_GUEST_RESULTS=/guest/results
${run}
`;
  const disks = [sparseFile(8 * GiB)];
  await using guest = new Guest({
    image,
    script,
    disks,
    files: bundled,
    checkout,
    timeout,
    ...(postgres && { shareUsr: true }),
  });
  const { status, output, console } = await guest.ended();
  const file = join(guest.directory, 'results');
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [];
  const all = lines.map((line): GuestResult => {
    const result = JSON.parse(line) as GuestResult;
    return { ...result, file: files.find((each) => basename(each, '.ts') === result.file) ?? result.file };
  });
  const ended = new Set(all.filter(({ name }) => name === '').map((result) => result.file));
  const missing = files.filter((each) => !ended.has(each));
  const failures = all.filter(({ name, state }) => name === '' && state === 'failed');
  // What fails before the cases, such as making their pool, leaves them skipped: then only the status says it.
  const isUnexplained = status !== 0 && !all.some(({ name, state }) => name !== '' && state === 'failed');
  const problem =
    isUnexplained || missing.length > 0 || failures.length > 0
      ? [
          `the guest ended with ${status ?? 'nothing'}; not run to the end: ${missing.join(', ') || 'none'}`,
          ...failures.flatMap(({ file: failed, errors }) => [failed, ...errors]),
          output.slice(-3000),
          console.slice(-3000),
        ].join('\n')
      : '';
  return { results: all.filter(({ name }) => name !== ''), problem };
}

/** What the guest has itself comes first; the libraries that PostgreSQL needs beside come with it. */
function withHostsPostgres(): string {
  const user =
    readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .find((line) => line.startsWith('postgres:')) ?? '';
  return `
mkdir /run/usr
mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,ro,cache=loose usr /run/usr
mount -t overlay -o lowerdir=/usr:/run/usr overlay /usr
echo '${user}' >> /etc/passwd
`;
}

interface Prepared {
  /** What the guest runs. */
  readonly run: string;
  readonly bundled: Readonly<Record<string, string>>;
}

function fromSources(files: readonly string[]): Prepared {
  const run = `export COPPICE_GUEST_TESTS="${files.join(' ')}"
vitest run --config test/guest/vitest.config.ts`;
  return { run, bundled: {} };
}

async function fromBundles(checkout: string, files: readonly string[]): Promise<Prepared> {
  const bundledAs = (file: string): string => basename(file).replace(/\.ts$/, '.js');
  const bundled = await bundleForGuest({
    'vitest.config.js': 'test/guest/vitest.config.ts',
    'leak-guard.js': 'test/support/leak-guard.ts',
    ...Object.fromEntries(files.map((file) => [bundledAs(file), file])),
  });
  const actors = actorPrograms();
  for (const name of readdirSync(actors).filter((each) => each.endsWith('.js')))
    bundled[name] = readFileSync(join(actors, name), 'utf8');
  const run = `${unpack(checkout)}
export COPPICE_TEST_PROGRAMS=${programs} COPPICE_GUEST_TESTS="${files.map(bundledAs).join(' ')}"
vitest run --root ${programs} --config ${programs}/vitest.config.js --configLoader native`;
  return { run, bundled };
}

/** The beginning of every script that works in the checkout on a real ZFS. */
export function prepare(checkout: string): string {
  return `
set -e
modprobe zfs
echo "127.0.0.1 localhost" > /etc/hosts
# Of what udev looks at in every new disk, only the name and the content matter here, and the rest takes most of the time.
for rule in /lib/udev/rules.d/*; do
  case $rule in
    */50-udev-default.rules | */60-block.rules | */60-persistent-storage.rules | */60-zvol.rules | */90-zfs.rules) ;;
    *) rm "$rule" ;;
  esac
done
udevadm control --reload
# Tools write caches beside what they read.
mkdir -p /tmp/checkout/upper /tmp/checkout/work
mount -t overlay -o lowerdir=${checkout},upperdir=/tmp/checkout/upper,workdir=/tmp/checkout/work checkout ${checkout}
cd ${checkout}
export PATH="${checkout}/node_modules/.bin:$PATH" COPPICE_TEST_BACKENDS=zfs
# See vitest.config.ts beside this.
node() { command node --liftoff-only "$@"; }
trap 'dmesg | grep segfault || :' EXIT
`;
}
