// Takes a fresh clone on a bare machine to a running task: `node scripts/bootstrap.mjs TASK [arguments]`.
// Plain JavaScript without packages, because it must run on whatever Node is there (18 or newer)
// before anything is installed; everything after the preparation runs on the Node 24 from node_modules.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const vitest = ['vitest', 'run'];

/** What each task runs, one command after the other, and which groups of Debian packages it needs. */
const tasks = {
  start: { needs: ['run'], commands: [['node', 'scripts/start.ts']] },
  test: {
    needs: ['run', 'test', 'guest', 'package'],
    commands: [['biome', 'check'], ['tsc', '--noEmit'], vitest],
  },
  'test:quick': { needs: ['run', 'test'], env: { COPPICE_QUICK: '1' }, commands: [vitest] },
  'test:guest': {
    needs: ['run', 'test', 'guest'],
    env: { COPPICE_GUEST: 'all' },
    commands: [[...vitest, 'test/guest']],
  },
  'test:long': { needs: ['run', 'test', 'guest'], env: { COPPICE_LONG: '1' }, commands: [vitest] },
  torture: { needs: ['run', 'test'], commands: [['node', 'test/torture/torture.ts']] },
  bench: { needs: ['run', 'test', 'guest', 'bench'], commands: [['node', 'bench/run.ts']] },
  build: { needs: [], commands: [] },
  package: { needs: ['package'], commands: [['node', 'scripts/package.ts']] },
};

/** `files` are what shows that a package is there: a command found in PATH, or an absolute path. */
const debianPackages = [
  { name: 'btrfs-progs', group: 'run', files: ['mkfs.btrfs', 'btrfs'], why: 'makes pools' },
  { name: 'e2fsprogs', group: 'run', files: ['mkfs.ext4', 'debugfs'], why: 'fills and reads ext4 images' },
  { name: 'mount', group: 'run', files: ['mount', 'losetup'], why: 'mounts pools' },
  { name: 'qemu-utils', group: 'run', files: ['qemu-img'], why: 'reads disk images' },
  { name: 'bubblewrap', group: 'run', files: ['bwrap'], why: 'confines image tools' },
  { name: 'xfsprogs', group: 'test', files: ['mkfs.xfs'], why: 'tests on xfs' },
  {
    name: 'bash-completion',
    group: 'test',
    files: ['/usr/share/bash-completion/bash_completion'],
    why: 'tests completion',
  },
  { name: 'zsh', group: 'test', files: ['zsh'], why: 'tests completion' },
  { name: 'fish', group: 'test', files: ['fish'], why: 'tests completion' },
  { name: 'man-db', group: 'test', files: ['man'], why: 'tests the manual' },
  {
    name: 'groff',
    group: 'test',
    files: ['/usr/share/groff/current/tmac/an.tmac', 'groff'],
    why: 'tests the manual',
  },
  { name: 'mandoc', group: 'test', files: ['mandoc'], why: 'tests the manual' },
  { name: 'systemd', group: 'test', files: ['/lib/systemd/systemd'], why: 'stops and starts units in tests' },
  { name: 'strace', group: 'test', files: ['strace'], why: 'tests which system calls are made' },
  {
    name: 'python3-grpcio',
    group: 'test',
    files: ['/usr/lib/python3/dist-packages/grpc/__init__.py'],
    why: "tests the API's examples in Python",
  },
  {
    name: 'python3-protobuf',
    group: 'test',
    files: ['/usr/lib/python3/dist-packages/google/protobuf/__init__.py'],
    why: "tests the API's examples in Python",
  },
  { name: 'protobuf-compiler', group: 'test', files: ['protoc'], why: "tests the API's examples" },
  {
    name: 'protobuf-compiler-grpc',
    group: 'test',
    files: ['grpc_python_plugin'],
    why: "tests the API's examples in Python",
  },
  {
    name: 'protoc-gen-go-1-5',
    group: 'test',
    files: ['protoc-gen-go'],
    why: "tests the API's examples in Go",
  },
  {
    name: 'protoc-gen-go-grpc',
    group: 'test',
    files: ['protoc-gen-go-grpc'],
    why: "tests the API's examples in Go",
  },
  { name: 'mariadb-server', group: 'test', files: ['/usr/sbin/mariadbd'], why: 'tests snapshots of it' },
  { name: 'redis-server', group: 'test', files: ['redis-server'], why: 'tests snapshots of it' },
  {
    // Of whichever version this Debian has.
    name: 'postgresql',
    group: 'test',
    files: ['pg_ctlcluster', 'pgbench'],
    why: 'is snapshotted in tests',
  },
  { name: 'curl', group: 'test', files: ['curl'], why: "tests the API's examples in a shell" },
  { name: 'jq', group: 'test', files: ['jq'], why: "tests the API's examples in a shell" },
  { name: 'mmdebstrap', group: 'test', files: ['mmdebstrap'], why: 'tests packages on a clean Debian' },
  {
    name: 'qemu-system-x86',
    group: 'guest',
    files: ['qemu-system-x86_64'],
    why: 'runs tests under a kernel with ZFS',
  },
  { name: 'qemu-guest-agent', group: 'guest', files: ['qemu-ga'], why: 'freezes a guest in tests' },
  { name: 'dpkg', group: 'package', files: ['dpkg-deb'], why: 'makes the Debian package' },
  { name: 'gcc', group: 'bench', files: ['gcc'], why: 'builds the baseline in C' },
  { name: 'lxd', group: 'bench', files: ['lxd'], why: 'is compared with' },
  { name: 'libc6-dev', group: 'bench', files: ['/usr/include/stdio.h'], why: 'builds the baseline in C' },
];

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const binaries = path.join(root, 'node_modules', '.bin');
const stamp = path.join(root, 'node_modules', '.coppice-lockfile');
const systemPath = systemDirectories();
const environment = { ...process.env, PATH: [binaries, ...systemPath].join(path.delimiter) };

await main(process.argv.slice(2));

async function main([name = '', ...rest]) {
  process.chdir(root);
  if (name === '--locked') return prepare(tasks[rest[0]]);
  const task = Object.hasOwn(tasks, name) ? tasks[name] : undefined;
  if (!task) return fail(`unknown task '${name}'; there are: ${Object.keys(tasks).join(', ')}`);

  if (!isPrepared(task)) await prepareAlone(name);
  for (const command of task.commands) {
    // Arguments are for the task's main command, which is always the last one.
    const [program, ...args] = command === task.commands.at(-1) ? [...command, ...rest] : command;
    say([program, ...args].join(' '));
    const code = await run(program, args, task.env);
    if (code !== 0) fail(`${name} failed: '${program}' exited with ${code}`, code);
  }
}

/**
 * Prepares in a child that holds a lock on this folder, so that two tasks started at once do not
 * install over each other. The kernel drops the lock with its holder: no stale lock files.
 */
async function prepareAlone(name) {
  const self = [process.execPath, fileURLToPath(import.meta.url)];
  const code = await run('flock', [path.join(root, 'scripts'), ...self, '--locked', name]);
  if (code !== 0) process.exit(code);
}

function isPrepared(task) {
  return missingPackages(task).length === 0 && packagesAreCurrent() && !mustBuild(task);
}

/** Asks again what is missing: another process may have prepared while this one waited for the lock. */
function prepare(task) {
  const missing = missingPackages(task);
  if (missing.length > 0) installDebianPackages(missing);
  if (!packagesAreCurrent()) installNpmPackages();
  if (mustBuild(task)) build();
}

function missingPackages(task) {
  return debianPackages.filter(({ group, files }) => task.needs.includes(group) && !files.every(isThere));
}

function isThere(file) {
  return systemPath.some((folder) => fs.existsSync(path.resolve(folder, file)));
}

function installDebianPackages(missing) {
  const names = missing.map(({ name }) => name);
  const command = `apt-get install --no-install-recommends ${names.join(' ')}`;
  const reasons = missing.map(({ name, why }) => `${name} (${why})`).join(', ');
  if (!isThere('apt-get')) {
    fail(`missing: ${reasons}. There is no apt-get here: install what your system calls these packages`);
  }
  if (process.getuid() !== 0) fail(`missing: ${reasons}. Only root can install them: sudo ${command}`);

  say(`installing Debian packages: ${reasons}`);
  aptGet('update', '-qq');
  aptGet('install', '-qq', '--yes', '--no-install-recommends', ...names);
  const absent = missing.flatMap(({ files }) => files).filter((file) => !isThere(file));
  if (absent.length > 0) fail(`apt-get reported success, but still missing: ${absent.join(', ')}`);
}

/** Quiet unless it fails: apt-get's progress would bury the one line that says what is being installed. */
function aptGet(...args) {
  const options = {
    encoding: 'utf8',
    maxBuffer: Infinity,
    env: { ...environment, DEBIAN_FRONTEND: 'noninteractive' },
  };
  const result = spawnSync('apt-get', ['-o', 'DPkg::Lock::Timeout=300', ...args], options);
  if (result.status !== 0) process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}`);
  finish(`'apt-get ${args.join(' ')}'`, result);
}

function packagesAreCurrent() {
  return fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === lockfileHash();
}

function installNpmPackages() {
  say('installing npm packages (npm ci)');
  // Without node_modules/.bin: npm ci deletes the Node that would otherwise be running it. Only errors
  // are shown, because an older Node makes npm warn about the very thing that this install puts right.
  const env = { ...environment, PATH: systemPath.join(path.delimiter) };
  const args = ['ci', '--no-audit', '--no-fund', '--loglevel=error'];
  finish('npm ci', spawnSync('npm', args, { stdio: ['ignore', 'inherit', 'inherit'], env }));

  const version = spawnSync('node', ['--version'], { encoding: 'utf8', env: environment }).stdout?.trim();
  if (!(Number.parseInt(String(version).slice(1), 10) >= 24)) {
    const reason = "npm did not run the install script of its package 'node' (is ignore-scripts set?)";
    fail(`Node 24 or newer is needed, found ${version}: ${reason}`);
  }
  fs.writeFileSync(stamp, lockfileHash());
}

function lockfileHash() {
  return createHash('sha256').update(fs.readFileSync('package-lock.json')).digest('hex');
}

/** Asked for by name, it always builds. A folder's own time counts: it is the only trace of a deleted file. */
function mustBuild(task) {
  const programs = ['cli', 'command-line', 'server', 'index', 'client'];
  const beside = [
    'worker',
    'inventory-worker',
    'comparison-worker',
    'state-worker',
    'thaw-watchdog',
    'release-watchdog',
    'hook-runner',
    'sqlite-session',
    'guard-supervisor',
    'mysql-client',
    'postgres-client',
  ];
  const built = [...[...programs, ...beside].map((name) => `dist/${name}.js`), 'dist/types'];
  if (task === tasks.build || !built.every((file) => fs.existsSync(file))) return true;
  const sources = fs.readdirSync('src', { recursive: true }).map((file) => path.join('src', String(file)));
  const recipe = [
    'package.json',
    'package-lock.json',
    'tsconfig.json',
    'tsconfig.types.json',
    'scripts/build.ts',
  ];
  const times = (files) => files.map((file) => fs.statSync(file).mtimeMs);
  return Math.max(...times(['src', ...sources, ...recipe])) > Math.min(...times(built));
}

function build() {
  say('building dist');
  finish('the build', spawnSync('node', ['scripts/build.ts'], { stdio: 'inherit', env: environment }));
}

function finish(what, { status, error, signal }) {
  if (status !== 0) fail(`${what} failed (${error?.message ?? signal ?? `exit code ${status}`})`);
}

/** Runs to the end, also when signalled: the command must get the chance to unmount what it mounted. */
function run(command, args, extra = {}) {
  const child = spawn(command, args, { stdio: 'inherit', env: { ...environment, ...extra } });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      // A terminal sends Ctrl-C to the child as well; a second one would mean "stop without cleaning up".
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    });
  }
  return new Promise((resolve) => {
    child.on('error', (error) => fail(`cannot run '${command}': ${error.message}`));
    child.on('close', (code, signal) => resolve(code ?? 128 + os.constants.signals[signal]));
  });
}

/** Debian keeps mkfs and losetup where a user's PATH does not look. */
function systemDirectories() {
  const folders = (process.env.PATH ?? '').split(path.delimiter);
  const own = folders.filter((folder) => folder !== '' && folder !== binaries);
  return [...new Set([...own, '/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin'])];
}

function say(message) {
  console.error(`coppice: ${message}`);
}

function fail(message, code = 1) {
  say(message);
  process.exit(code);
}
