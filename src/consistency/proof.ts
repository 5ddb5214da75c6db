import { streamProgram } from '../linux/programs.ts';
import { openTrusted, requireOwn } from '../linux/trusted-path.ts';
import { CoppiceError } from '../model/errors.ts';
import type { VerificationCheck } from '../model/metadata.ts';
import { type Settings, settingsOf } from '../model/settings.ts';

/** A throw-away copy of a snapshot, and what is wanted of it. */
export interface Proof {
  /** The directory of the copy, which may be written to. */
  readonly copy: string;
  /** The directories under which the live volume is known. */
  readonly formerly: readonly string[];
  /** The copies of the other volumes that parts of it lie in, by the names of those volumes; and where those themselves are. */
  readonly volumes: Readonly<Record<string, string>>;
  readonly formerlyOf: Readonly<Record<string, readonly string[]>>;
  /** Statements, each of which must answer with true. */
  readonly sql: readonly string[];
  readonly signal: AbortSignal | undefined;
  /** The directory of the database's programs, where they are not in the usual place. */
  readonly programs?: string;
  /** For the recovery. */
  readonly timeoutMilliseconds?: number;
}

interface Prover {
  /** @throws CoppiceError damaged with what is the matter */
  prove(name: string, value: string, proof: Proof): Promise<VerificationCheck[]>;
}

/** Loaded only where it is wanted. */
const provers: Readonly<Record<string, () => Promise<Prover>>> = {
  postgres: () => import('./postgres/prove.ts'),
};

/** What of a volume can be proven: the names of its declared applications, and whether there is a program of the user's own. */
export function provable(settings: Settings): {
  readonly applications: readonly string[];
  readonly program?: string;
} {
  const applications = settingsOf(settings, 'quiesce').flatMap(([name]) =>
    Object.hasOwn(provers, kindOf(name)) ? [name] : [],
  );
  const program = settings['verify.program'];
  return { applications, ...(program !== undefined && { program }) };
}

/** Runs every check, also after one has failed. */
export async function proveAll(settings: Settings, proof: Proof): Promise<readonly VerificationCheck[]> {
  const { applications, program } = provable(settings);
  const checks: VerificationCheck[] = [];
  for (const name of applications) {
    const prover = await provers[kindOf(name)]?.();
    const value = settings[`quiesce.${name}`] ?? '';
    if (prover) checks.push(...(await tried(name, () => prover.prove(name, value, proof), proof)));
  }
  if (program !== undefined) checks.push(...(await tried('program', () => runOwn(program, proof), proof)));
  return checks;
}

async function tried(
  name: string,
  prove: () => Promise<VerificationCheck[]>,
  { signal }: Proof,
): Promise<VerificationCheck[]> {
  try {
    return await prove();
  } catch (error) {
    // What keeps the check from being made says nothing of the snapshot.
    if (signal?.aborted || !(error instanceof CoppiceError) || error.code !== 'damaged') throw error;
    return [{ name, result: 'failed', message: error.message.slice(0, longestMessage) }];
  }
}

/** All metadata has to fit into one attribute. */
const longestMessage = 500;

/** `verify.program`: is given the directory of the copy, and succeeds when that is good. */
async function runOwn(program: string, { copy, signal }: Proof): Promise<VerificationCheck[]> {
  requireOwn(program, 'the program of verify.program');
  openTrusted(program, 'the program of verify.program')[Symbol.dispose]();
  const { code, output, errors } = await streamProgram(program, [copy], { signal });
  if (code === 0) return [{ name: 'program', result: 'passed' }];
  const words = `${output}\n${errors}`.trim().replaceAll(/[^\x20-\x7e]+/g, ' ');
  throw new CoppiceError(
    'damaged',
    `${program} says that it is not good (exit code ${code}): ${words || 'no word more'}.`,
  );
}

function kindOf(name: string): string {
  return name.split('.', 1)[0] ?? '';
}
