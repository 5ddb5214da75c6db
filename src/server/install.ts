import { mkdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { defaultAuditPath } from '../engine/audit.ts';
import { shellWord } from '../model/shell-word.ts';
import { defaultTokenFile } from './auth/tokens.ts';
import { serviceCommand } from './install/command.ts';
import { requireOurs, write } from './install/own-file.ts';
import { logrotateConfiguration, marker, serviceUnit, socketUnit } from './install/units.ts';
import { readServeFlags, type ServeFlags } from './options.ts';

const usualUnitDirectory = '/etc/systemd/system';

/**
 * Makes the daemon a service of systemd, with the given flags. Run again it replaces what it has written itself, and nothing else.
 * @throws CoppiceError already_exists when somebody else has written one of the files, and what the flags are refused with
 */
export function install(process: NodeJS.Process, flags: ServeFlags): void {
  // The same checks as when it starts: a mistake is told now, and not in the journal.
  const { pools } = readServeFlags(flags, withoutSockets(process.env), () => {});
  const files = filesOf(process, flags, pools);
  for (const { file } of files) requireOurs(file, marker, 'coppice serve --install');
  const directories = flags.unitDirectory === undefined ? directoriesOf(flags) : [];
  for (const { path, mode } of directories) mkdirSync(path, { recursive: true, mode });
  const written = files.map(({ file, text }) => write(file, text));
  process.stdout.write(`${[...written, '', ...nextSteps(flags)].join('\n')}\n`);
}

interface File {
  readonly file: string;
  readonly text: string;
}

/** Of an image that is being built, all go into one directory. */
function filesOf(
  process: NodeJS.Process,
  flags: ServeFlags,
  pools: ReadonlyMap<string, string>,
): readonly File[] {
  const { unitDirectory } = flags;
  const directory = resolve(unitDirectory ?? usualUnitDirectory);
  const rotation =
    unitDirectory === undefined ? '/etc/logrotate.d/coppice' : join(directory, 'coppice.logrotate');
  return [
    { file: join(directory, 'coppice.socket'), text: socketUnit(flags) },
    {
      file: join(directory, 'coppice.service'),
      text: serviceUnit(serviceCommand(process, flags, pools), flags, pools),
    },
    { file: rotation, text: logrotateConfiguration(flags.auditLog) },
  ];
}

function directoriesOf({
  auditLog,
  tokens,
}: ServeFlags): ReadonlyArray<{ readonly path: string; readonly mode: number }> {
  return [
    { path: dirname(resolve(auditLog ?? defaultAuditPath)), mode: 0o750 },
    { path: dirname(resolve(tokens ?? defaultTokenFile)), mode: 0o755 },
    { path: '/etc/logrotate.d', mode: 0o755 },
  ];
}

function nextSteps({ unitDirectory, listen }: ServeFlags): string[] {
  if (unitDirectory !== undefined)
    return [
      `Copy the units to ${usualUnitDirectory} of the machine that is to run them, and ${shellWord(join(resolve(unitDirectory), 'coppice.logrotate'))} to /etc/logrotate.d/coppice. Then, there:`,
      ...enabling(listen),
    ];
  return ['Then:', ...enabling(listen)];
}

/** The unix socket starts the daemon with its first client; who comes over the network needs it to be there. */
function enabling(listen: string | undefined): string[] {
  const units = listen === undefined ? 'coppice.socket' : 'coppice.socket coppice.service';
  return [`  systemctl daemon-reload && systemctl enable --now ${units}`, '  systemctl status coppice'];
}

function withoutSockets(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { ...environment, LISTEN_PID: undefined };
}
