import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Files in PEM. */
export interface Certificate {
  readonly certificate: string;
  readonly key: string;
}

export interface Authority extends Certificate {
  /** A certificate for a common name; for a server also for the names by which it is reached. */
  issue(commonName: string, options?: { readonly days?: number }): Certificate;
}

/** An authority with certificates, made by openssl in a directory. */
export function certificateAuthority(directory: string, name: string): Authority {
  let count = 0;
  const file = (suffix: string): string => join(directory, `${name}-${suffix}.pem`);
  const own = { certificate: file('ca'), key: file('ca-key') };
  openssl(
    ...['req', '-x509', ...newKey, '-days', '2', '-subj', `/CN=${name}`],
    ...['-keyout', own.key, '-out', own.certificate],
  );
  return {
    ...own,
    issue(commonName, { days = 2 } = {}) {
      const label = `${++count}`;
      const issued = { certificate: file(label), key: file(`${label}-key`) };
      const [request, extensions] = [file(`${label}-request`), file(`${label}-extensions`)];
      writeFileSync(extensions, 'subjectAltName=IP:127.0.0.1,DNS:localhost\n');
      openssl('req', ...newKey, '-subj', `/CN=${commonName}`, '-keyout', issued.key, '-out', request);
      openssl(
        ...['x509', '-req', '-in', request, '-CA', own.certificate, '-CAkey', own.key, '-CAcreateserial'],
        ...['-days', String(days), '-extfile', extensions, '-out', issued.certificate],
      );
      return issued;
    },
  };
}

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

function openssl(...args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
