/** The JSON schemas that the platform serves, as far as its specs use them. */

export type Value = unknown;
export type Values = Record<string, Value>;

export interface Schema {
  $ref?: string;
  $defs?: Record<string, Schema>;
  type?: string;
  title?: string;
  description?: string;
  default?: Value;
  const?: Value;
  enum?: (string | number)[];
  anyOf?: Schema[];
  oneOf?: Schema[];
  discriminator?: { propertyName: string; mapping: Record<string, string> };
  properties?: Record<string, Schema>;
  required?: string[];
  patternProperties?: Record<string, Schema>;
  items?: Schema;
  prefixItems?: Schema[];
  minItems?: number;
  maxItems?: number;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  unit?: string;
  reference?: "dataset" | "model";
}

/** A field as the form shows it: references followed, "or null" taken off. */
export interface Plain extends Schema {
  nullable: boolean;
}

export function resolved(schema: Schema, root: Schema): Schema {
  const name = schema.$ref?.split("/").at(-1);
  const target = name ? root.$defs?.[name] : undefined;
  // what stands beside the reference (description, default) wins over what it leads to
  return target ? { ...resolved(target, root), ...schema, $ref: undefined } : schema;
}

export function plain(schema: Schema, root: Schema): Plain {
  const found = resolved(schema, root);
  const others = found.anyOf?.filter((each) => each.type !== "null");
  if (!found.anyOf || !others) return { ...found, nullable: false };
  const nullable = others.length < found.anyOf.length;
  const only = others.length === 1 && others[0] ? resolved(others[0], root) : null;
  if (only) return { ...only, ...found, anyOf: undefined, description: found.description ?? only.description, nullable };
  return { ...found, anyOf: others, nullable };
}

/** `base_lr` as a label: Base lr. */
export function labelOf(name: string): string {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** What may stand in a number, in words. */
export function boundsOf(schema: Schema): string {
  const { minimum, exclusiveMinimum, maximum, exclusiveMaximum } = schema;
  const low = minimum !== undefined ? `from ${minimum}` : exclusiveMinimum !== undefined ? `above ${exclusiveMinimum}` : "";
  const high = maximum !== undefined ? `to ${maximum}` : exclusiveMaximum !== undefined ? `below ${exclusiveMaximum}` : "";
  return [low, high].filter(Boolean).join(" ");
}

export function same(a: Value, b: Value): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** The value at a JSON pointer, undefined where there is none. */
export function at(value: Value, path: string): Value {
  return path.split("/").slice(1).reduce<Value>((inner, part) => (inner as Values | null | undefined)?.[part], value);
}

/** What was given beyond the defaults. With a preset, whose values stand in for defaults, all of it. */
export function givenOf(spec: Values, schema: Schema): Values {
  if (spec.preset != null) return spec;
  const properties = schema.properties ?? {};
  return Object.fromEntries(
    Object.entries(spec).filter(([name, value]) => {
      const field = properties[name];
      return field && !("default" in field && same(field.default, value));
    }),
  );
}
