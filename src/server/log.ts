/** What the server says, one line of JSON each, for journald and whoever reads it. */

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface Log {
  readonly debug: (message: string, fields?: Fields) => void;
  readonly info: (message: string, fields?: Fields) => void;
  readonly warn: (message: string, fields?: Fields) => void;
  readonly error: (message: string, fields?: Fields) => void;
  readonly isDebugging: boolean;
}

type Fields = Readonly<Record<string, unknown>>;

const levels: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];

export function isLogLevel(text: string): text is LogLevel {
  return levels.some((level) => level === text);
}

/** @param write gets each line */
export function makeLog(write: (line: string) => void, least: LogLevel = 'info'): Log {
  const at =
    (level: LogLevel): Log[LogLevel] =>
    (message, fields = {}) => {
      if (levels.indexOf(level) < levels.indexOf(least)) return;
      write(`${JSON.stringify({ time: new Date().toISOString(), level, message, ...fields })}\n`);
    };
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    isDebugging: least === 'debug',
  };
}
