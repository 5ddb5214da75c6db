import {
  type Application,
  type InputCompletion,
  proposeCompletions,
  type StricliProcess,
} from '@stricli/core';
import type { CliContext, Nameable } from '../context.ts';
import { leadingFlags } from '../leading-flags.ts';
import { poolPath } from '../pool-path.ts';
import { poolNames } from './pool-names.ts';
import { type TypedWord, typedWords } from './typed-words.ts';

/**
 * Answers a shell that completes a line: the kind of the word under the cursor (`words`, `files` or `directories`), then one candidate
 * a line, with a tab before what it means. Whatever goes wrong, nothing is proposed and nothing is said: somebody is typing.
 * @param breaks characters at which the shell itself splits words, so that it wants only what follows the last of them
 */
export async function answerCompletion(
  application: Application<CliContext>,
  process: CliProcess,
  [line = '', breaks = '']: readonly string[],
): Promise<void> {
  const typed = typedWords(line, process.env['HOME']);
  const command = typed.findIndex(({ raw }) => !/^\w+=/.test(raw));
  const words = typed.slice(command + 1).map(({ text }) => text);
  const { kind, candidates } = await candidatesFor(application, process, words).catch(() => nothing);
  const kept = keptByShell(typed.at(-1), breaks);
  const lines = candidates.map(
    ({ completion, brief }) => `${completion.slice(kept)}${brief && `\t${brief}`}`,
  );
  process.stdout.write(`${[kind, ...lines].join('\n')}\n`);
}

type CliProcess = StricliProcess & NodeJS.Process;

interface Candidates {
  readonly kind: 'words' | 'files' | 'directories';
  readonly candidates: ReadonlyArray<{ readonly completion: string; readonly brief: string }>;
}

const nothing: Candidates = { kind: 'words', candidates: [] };

async function candidatesFor(
  application: Application<CliContext>,
  process: CliProcess,
  words: readonly string[],
): Promise<Candidates> {
  const [before, partial] = [words.slice(0, -1), words.at(-1) ?? ''];
  const isEscaped = before.includes('--');
  const [, flag, value] = (isEscaped ? null : /^(--[\w-]+=)(.*)$/s.exec(partial)) ?? [];
  if (flag !== undefined && value !== undefined) {
    const { kind, candidates } = await candidatesFor(application, process, [
      ...before,
      flag.slice(0, -1),
      value,
    ]);
    return {
      kind,
      candidates: candidates.map(({ completion, brief }) => ({ completion: flag + completion, brief })),
    };
  }
  let kind: Candidates['kind'] = 'words';
  const propose = (what: Nameable, begun: string): readonly string[] => {
    if (what === 'file' || what === 'directory') {
      kind = what === 'file' ? 'files' : 'directories';
      return [];
    }
    return poolNames(poolPath({ process }, poolOnLine(before)), what, begun).filter(
      (name) => !before.includes(name),
    );
  };
  const leading = leadingFlags(before);
  const rest = before.slice(leading.length);
  const proposals = await proposeCompletions(application, inputsFor(leading, rest, partial), {
    process,
    propose,
  });
  const own = isEscaped ? [] : rest.length > 0 ? flagsOfAll : [...flagsOfAll, ...flagsOfNone];
  return { kind, candidates: fitting([...proposals.map(candidate), ...own], before, partial, isEscaped) };
}

/** Before the command stand flags that every command has, so that any can say what comes after them. */
function inputsFor(leading: readonly string[], rest: readonly string[], partial: string): readonly string[] {
  if (rest.length > 0) return [...rest, partial];
  return leading.at(-1) === '--pool' ? ['list', ...leading, partial] : [partial];
}

/** The framework documents these itself, and does not propose them. */
const flagsOfAll = [{ completion: '--help', brief: 'Print help information and exit', isFlag: true }];
const flagsOfNone = [
  { completion: '--version', brief: 'Print version information and exit', isFlag: true },
  { completion: '--pool', brief: 'Directory of the pool', isFlag: true },
  { completion: '--json', brief: 'Print the result as JSON', isFlag: true },
];

function candidate({ kind, completion, brief }: InputCompletion): (typeof flagsOfAll)[number] {
  return { completion, brief: kind === 'argument:value' ? '' : brief, isFlag: kind === 'argument:flag' };
}

/** Flags only for who begins to type one, and each only once. */
function fitting(
  candidates: ReadonlyArray<(typeof flagsOfAll)[number]>,
  before: readonly string[],
  partial: string,
  isEscaped: boolean,
): Candidates['candidates'] {
  const wantsFlag = !isEscaped && partial.startsWith('-');
  return candidates.filter(
    ({ completion, isFlag }) =>
      isFlag === wantsFlag &&
      completion !== '--' &&
      completion.startsWith(partial) &&
      !(isFlag && before.includes(completion)),
  );
}

/** The pool that the line names. */
function poolOnLine(words: readonly string[]): string | undefined {
  const at = words.findLastIndex((word) => word === '--pool' || word.startsWith('--pool='));
  const word = words[at];
  return word === '--pool' ? words[at + 1] : word?.slice('--pool='.length);
}

/** How much of a candidate the shell keeps as it is, because it takes only the rest for the word. */
function keptByShell(word: TypedWord | undefined, breaks: string): number {
  if (!word || /^['"]/.test(word.raw)) return 0;
  // bash splits at "@", and yet has the word begin with it.
  const ends = [...breaks].map((each) => word.text.lastIndexOf(each) + (each === '@' ? 0 : 1));
  return Math.max(...ends, 0);
}
