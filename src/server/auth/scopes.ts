import { Access } from '../../api/generated/coppice/v1/annotations_pb.ts';

/** What somebody may do; each includes the ones before it. */
export const scopes = ['read', 'write', 'admin'] as const;

export type Scope = (typeof scopes)[number];

export function isScope(value: unknown): value is Scope {
  return scopes.some((scope) => scope === value);
}

/** Whether a scope is enough for what a method asks for. */
export function allows(scope: Scope, access: Access): boolean {
  return (needed[access] ?? Number.POSITIVE_INFINITY) <= scopes.indexOf(scope);
}

const needed: Readonly<Partial<Record<Access, number>>> = {
  [Access.UNSPECIFIED]: -1,
  [Access.READ]: 0,
  [Access.WRITE]: 1,
  [Access.ADMIN]: 2,
};

/** The smallest scope that is enough. */
export function scopeFor(access: Access): Scope {
  return scopes[Math.max(0, needed[access] ?? 2)] ?? 'admin';
}
