/**
 * Parts of the published definitions of hypervisors' requests and answers, as data, and a strict look at values: what a definition
 * does not name is not taken.
 */
export type Schema =
  | { readonly type: 'string' | 'integer' | 'object' }
  | { readonly type: 'array'; readonly items: Schema }
  | {
      readonly type: 'fields';
      readonly required: readonly string[];
      readonly properties: Readonly<Record<string, Schema>>;
    };

/** Why a value does not conform; undefined when it does. */
export function violation(schema: Schema, value: unknown, name = 'body'): string | undefined {
  switch (schema.type) {
    case 'string':
      return typeof value === 'string' ? undefined : `${name} is no string`;
    case 'integer':
      return Number.isSafeInteger(value) ? undefined : `${name} is no integer`;
    case 'object':
      return typeof value === 'object' && value !== null ? undefined : `${name} is no object`;
    case 'array':
      if (!Array.isArray(value)) return `${name} is no array`;
      return value.map((each, index) => violation(schema.items, each, `${name}[${index}]`)).find(Boolean);
    case 'fields': {
      if (typeof value !== 'object' || value === null) return `${name} is no object`;
      const missing = schema.required.find((field) => !(field in value));
      if (missing !== undefined) return `${name} has no ${missing}`;
      return Object.entries(value)
        .map(([field, each]) => {
          const inner = schema.properties[field];
          return inner ? violation(inner, each, `${name}.${field}`) : `${name} must not have ${field}`;
        })
        .find(Boolean);
    }
  }
}

/** `PartialDrive` of src/firecracker/swagger/firecracker.yaml, 1.17: the body of PATCH /drives/{drive_id}. */
export const partialDrive: Schema = {
  type: 'fields',
  required: ['drive_id'],
  properties: {
    drive_id: { type: 'string' },
    path_on_host: { type: 'string' },
    rate_limiter: { type: 'object' },
  },
};

/** `VmResizeDisk` of vmm/src/api/openapi/cloud-hypervisor.yaml, 0.3.0. Nothing is required there; without both it means nothing. */
export const vmResizeDisk: Schema = {
  type: 'fields',
  required: ['id', 'desired_size'],
  properties: { id: { type: 'string' }, desired_size: { type: 'integer' } },
};

/** `block_resize` of qapi/block-core.json: one of `device` and `node-name`, and `size`. */
export const blockResize: Schema = {
  type: 'fields',
  required: ['size'],
  properties: { device: { type: 'string' }, 'node-name': { type: 'string' }, size: { type: 'integer' } },
};

export const nothing: Schema = { type: 'fields', required: [], properties: {} };
