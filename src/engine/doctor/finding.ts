export type Severity = 'ok' | 'info' | 'warning' | 'error';

/** One thing that was looked at, and what came of it. */
export interface DoctorFinding {
  /** What was looked at, stable: `tools.mkfs.btrfs`. What stands before the first dot is the topic. */
  readonly id: string;
  /**
   * `info`: good to know, nothing has to be done. `warning`: works now or in part, and needs attention. `error`: it does not work,
   * or data is at risk.
   */
  readonly severity: Severity;
  /** What it is about: a path, a program, a device, a volume. */
  readonly subject: string;
  readonly message: string;
  /** What to do; absent where nothing has to be done, and where the message says it. */
  readonly remedy?: string;
}

export function ok(id: string, subject: string, message: string): DoctorFinding {
  return { id, severity: 'ok', subject, message };
}

export function info(id: string, subject: string, message: string, remedy?: string): DoctorFinding {
  return { id, severity: 'info', subject, message, ...(remedy !== undefined && { remedy }) };
}

export function warning(id: string, subject: string, message: string, remedy: string): DoctorFinding {
  return { id, severity: 'warning', subject, message, remedy };
}

export function error(id: string, subject: string, message: string, remedy: string): DoctorFinding {
  return { id, severity: 'error', subject, message, remedy };
}
