import { ActionIcon, Autocomplete, Button, Checkbox, Fieldset, Group, JsonInput, MultiSelect, Select, Stack, TagsInput, Text, TextInput } from "@mantine/core";
import { IconPlus, IconTrash } from "@tabler/icons-react";
import { useState } from "react";

import { NumberField } from "./NumberField";
import { Reference } from "./Reference";
import { at, boundsOf, givenOf, labelOf, type Plain, plain, type Schema, type Value, type Values } from "./schema";

/** What is the same for all fields of a form. */
export interface Form {
  root: Schema;
  /** Messages by JSON pointer. */
  errors: ReadonlyMap<string, string>;
  /** What holds for fields that are not given, as the platform fills them in. */
  effective: Values | null;
}

interface Props {
  form: Form;
  schema: Schema;
  name: string;
  /** JSON pointer within the spec. */
  path: string;
  value: Value;
  set: (value: Value) => void;
  required?: boolean;
  label?: string;
  /** What holds without it, where the object that it is of has a default of its own. */
  inherited?: Value;
}

/** One field of a schema, whatever its type; what no input fits is written as JSON. */
export function Field(props: Props) {
  const field = plain(props.schema, props.form.root);
  const shared = useShared(props, field);
  const { value, set } = props;
  if (field.const !== undefined) return null;
  if (field.reference) return <Reference {...shared} schema={field} value={value as string} set={set} />;
  if (field.enum) return <Choice {...shared} field={field} value={value} set={set} fallback={shared.fallback} />;
  if (field.oneOf && field.discriminator) return <Variant {...props} field={field} />;
  switch (field.type) {
    case "boolean":
      return (
        <Checkbox label={shared.label} description={shared.description} error={shared.error} checked={Boolean(value ?? shared.fallback)}
          onChange={(event) => set(event.currentTarget.checked)} />
      );
    case "integer":
    case "number":
      return <Numeric {...shared} field={field} value={value} set={set} />;
    case "string":
      return (
        <TextInput {...input(shared)} value={(value as string | null) ?? ""} placeholder={shared.fallback == null ? undefined : String(shared.fallback)}
          onChange={(event) => set(event.currentTarget.value || undefined)} />
      );
    case "array":
      return <List {...props} field={field} shared={shared} />;
    case "object":
      if (field.properties) return <Nested {...props} field={field} />;
      return <Json {...shared} value={value} set={set} />;
    default:
      return <Loose {...shared} field={field} value={value} set={set} />;
  }
}

interface Shared {
  label: string;
  description: React.ReactNode;
  error: string | undefined;
  required: boolean;
  fallback: Value;
}

const input = ({ label, description, error, required }: Shared) => ({ label, description, error, withAsterisk: required });

function useShared({ form, name, path, required = false, label, inherited }: Props, field: Plain): Shared {
  const known = form.effective ? at(form.effective, path) : undefined;
  return {
    label: label ?? labelOf(name), error: form.errors.get(path), required, fallback: known ?? inherited ?? field.default,
    description: field.description ? <>{field.description}{field.type === "number" || field.type === "integer" ? <Bounds field={field} /> : null}</> : undefined,
  };
}

function Bounds({ field }: { field: Plain }) {
  const words = boundsOf(field);
  return words ? <Text span size="xs" c="dimmed"> ({words})</Text> : null;
}

interface Single extends Shared {
  field: Plain;
  value: Value;
  set: (value: Value) => void;
}

function Choice({ field, value, set, fallback, ...shared }: Single) {
  const data = (field.enum ?? []).map(String);
  return (
    <Select {...input({ ...shared, fallback })} data={data} value={value == null ? (fallback == null ? null : String(fallback)) : String(value)}
      clearable={field.nullable && value != null} placeholder={field.nullable ? "none" : "choose"} clearButtonProps={{ "aria-label": "Clear" }} allowDeselect={false}
      onChange={(now) => set(now ?? undefined)} searchable={data.length > 9} />
  );
}

function Numeric({ field, value, set, fallback, ...shared }: Single) {
  const number = (
    <NumberField {...shared} value={value as number | string | null | undefined} fallback={value === null ? null : (fallback as number | null)} set={set}
      whole={field.type === "integer"} unit={field.unit} />
  );
  // null says something only where it is not what holds anyway
  if (!field.nullable || field.default == null) return number;
  return (
    <Stack gap={4}>
      {number}
      <Checkbox size="xs" label={`none instead of ${String(field.default)}`} checked={value === null} onChange={(event) => set(event.currentTarget.checked ? null : undefined)} />
    </Stack>
  );
}

/** Several types are allowed: a word, a number or a structure, as JSON if it is no plain word. */
function Loose({ field, value, set, fallback, ...shared }: Single) {
  const words = (given: Value) => (given == null ? "" : typeof given === "string" ? given : JSON.stringify(given));
  return (
    <Autocomplete {...input({ ...shared, fallback })} value={words(value)} placeholder={words(fallback) || undefined}
      data={(field.anyOf ?? []).flatMap((each) => each.enum ?? []).map(String)}
      rightSection={field.unit ? <Text size="xs" c="dimmed" pr="sm">{field.unit}</Text> : undefined} rightSectionWidth={field.unit ? 70 : undefined}
      onChange={(now) => {
        try {
          set(now ? JSON.parse(now) : undefined);
        } catch {
          set(now);
        }
      }} />
  );
}

function Json({ value, set, fallback, ...shared }: Omit<Single, "field">) {
  const [typed, setTyped] = useState<string | null>(null);
  const text = typed ?? JSON.stringify(value ?? fallback ?? {});
  return (
    <JsonInput {...input({ ...shared, fallback })} value={text} autosize minRows={1} validationError="expected JSON"
      onChange={(now) => {
        setTyped(now);
        try {
          set(now.trim() ? JSON.parse(now) : undefined);
        } catch {
          // told below the field; what was last right stays
        }
      }}
      onBlur={() => setTyped(null)} />
  );
}

type Compound = Props & { field: Plain };

/** The fields of an object in a frame of their own. */
function Nested({ form, name, path, value, set, field, label, schema, inherited }: Compound) {
  const description = schema.description ?? field.description;
  // its default may be more than the defaults of its fields: the rest of it stays when the first of them is given
  const whole = (form.effective ? at(form.effective, path) : undefined) ?? inherited ?? field.default;
  const kept = value == null && whole != null ? givenOf(whole as Values, field) : {};
  return (
    <Fieldset legend={label ?? labelOf(name)} className="nested">
      {description && <Text size="xs" c="dimmed" mb="xs">{description}</Text>}
      <Fields form={form} schema={field} path={path} value={(value as Values | undefined) ?? {}} defaults={value == null ? (whole as Values | undefined) : undefined}
        set={(now) => set(Object.keys(now).length ? { ...kept, ...now } : undefined)} />
    </Fieldset>
  );
}

/** One of several objects, told apart by a name: a recipe, say. */
function Variant({ form, name, path, value, set, field, required, label }: Compound) {
  const tag = field.discriminator?.propertyName ?? "name";
  const mapping = field.discriminator?.mapping ?? {};
  const chosen = (value as Values | undefined)?.[tag] as string | undefined;
  const target = (each: string) => plain({ $ref: mapping[each] ?? "" }, form.root);
  const found = chosen && mapping[chosen] ? target(chosen) : null;
  return (
    <Fieldset legend={label ?? labelOf(name)} className="nested">
      <Stack gap="sm">
        <Select
          label={labelOf(tag === "name" ? name : tag)} description={found?.description ?? field.description} withAsterisk={required} searchable error={form.errors.get(path)}
          data={Object.keys(mapping)} value={chosen ?? null} placeholder="choose" onChange={(now) => set(now ? { [tag]: now } : undefined)} allowDeselect={false}
          renderOption={({ option }) => (
            <div>
              <Text size="sm">{option.value}</Text>
              <Text size="xs" c="dimmed">{target(option.value).description}</Text>
            </div>
          )}
        />
        {found && <Fields form={form} schema={found} path={path} value={value as Values} set={set} without={[tag]} />}
      </Stack>
    </Fieldset>
  );
}

interface FieldsProps {
  form: Form;
  schema: Schema;
  path: string;
  value: Values;
  set: (value: Values) => void;
  without?: readonly string[];
  only?: readonly string[];
  defaults?: Values | undefined;
}

/** The fields of an object, those that must be given first. */
export function Fields({ form, schema, path, value, set, without = [], only, defaults }: FieldsProps) {
  const names = Object.keys(schema.properties ?? {}).filter((name) => !without.includes(name) && (!only || only.includes(name)));
  const ordered = only ? only.filter((name) => names.includes(name)) : names;
  return (
    <div className="fields">
      {ordered.map((name) => {
        const required = schema.required?.includes(name) ?? false;
        return (
          <div key={name} id={`field${path}/${name}`.replaceAll("/", "-")} data-given={name in value}>
            <Field
              form={form} schema={schema.properties?.[name] ?? {}} name={name} path={`${path}/${name}`} value={value[name]} required={required} inherited={defaults?.[name]}
              set={(now) => {
                const { [name]: _, ...others } = value;
                set(now === undefined ? others : { ...value, [name]: now });
              }}
            />
          </div>
        );
      })}
    </div>
  );
}

/** What is wrong with the entries of a list, which are told apart by their place. */
function ofEach(errors: Form["errors"], path: string, count: number): string {
  const found = [...errors].filter(([pointer]) => pointer.startsWith(`${path}/`));
  return found.map(([pointer, said]) => (count > 1 ? `number ${Number(pointer.split("/").at(-1)) + 1}: ${said}` : said)).join("; ");
}

function List({ form, name, path, value, set, field, shared }: Compound & { shared: Shared }) {
  const inner = field.items ? plain(field.items, form.root) : null;
  const given = (Array.isArray(value) ? value : undefined) as Value[] | undefined;
  const values = given ?? ((Array.isArray(shared.fallback) ? shared.fallback : []) as Value[]);
  // what is wrong with one of them stands below the input that holds them all
  const flat = { ...shared, error: shared.error ?? (ofEach(form.errors, path, values.length) || undefined) };
  if (field.prefixItems) return <Tuple form={form} path={path} field={field} given={given} values={values} set={set} shared={shared} />;
  if (inner?.reference) return <Reference {...flat} several schema={{ ...inner, description: field.description ?? "" }} value={values as string[]} set={set} />;
  if (inner?.enum) {
    return <MultiSelect {...input(flat)} data={inner.enum.map(String)} value={values.map(String)} onChange={(now) => set(now.length ? now : undefined)} />;
  }
  if (inner?.type === "string" || inner?.type === "integer" || inner?.type === "number") {
    const isText = inner.type === "string";
    return (
      <TagsInput {...input(flat)} value={values.map(String)} placeholder={values.length ? undefined : "Enter adds one"} clearable
        onChange={(now) => set(now.length ? (isText ? now : now.map((each) => (Number.isFinite(Number(each)) ? Number(each) : each))) : undefined)} />
    );
  }
  if (!inner) return <Json {...shared} value={value} set={set} />;
  const change = (now: Value[]) => set(now.length ? now : undefined);
  return (
    <Fieldset legend={shared.label} className="nested">
      <Text size="xs" c="dimmed" mb="xs">{field.description}</Text>
      <Stack gap="sm">
        {values.map((each, index) => (
          <Group key={index} align="flex-start" wrap="nowrap">
            <div style={{ flexGrow: 1 }}>
              <Field form={form} schema={field.items ?? {}} name={`${name} ${index + 1}`} path={`${path}/${index}`} value={each}
                set={(now) => change(values.map((old, place) => (place === index ? (now ?? {}) : old)))} />
            </div>
            <ActionIcon variant="default" aria-label={`Remove ${labelOf(name)} ${index + 1}`} onClick={() => change(values.filter((_, place) => place !== index))}>
              <IconTrash size={16} />
            </ActionIcon>
          </Group>
        ))}
        <Button variant="default" size="xs" leftSection={<IconPlus size={14} aria-hidden />} w="fit-content" onClick={() => change([...values, {}])}>Add</Button>
      </Stack>
    </Fieldset>
  );
}

interface TupleProps {
  form: Form;
  path: string;
  field: Plain;
  given: Value[] | undefined;
  values: Value[];
  set: (value: Value) => void;
  shared: Shared;
}

/** A fixed number of numbers, such as a size: an input for each. */
function Tuple({ form, path, field, given, values, set, shared }: TupleProps) {
  const parts = field.prefixItems ?? [];
  const axes = parts.length === 3 ? ["depth", "height", "width"] : ["height", "width"];
  const change = (index: number, now: number | string | undefined) => {
    const next = parts.map((_, place) => (place === index ? now : values[place]));
    set(next.every((each) => each === undefined) ? undefined : next.map((each) => each ?? null));
  };
  return (
    <Fieldset legend={`${shared.label}${field.unit ? ` (${field.unit})` : ""}`} className="nested">
      <Text size="xs" c="dimmed" mb={4}>{field.description}</Text>
      <Group gap="xs" grow>
        {parts.map((part, index) => (
          <NumberField key={index} label={parts.length <= 3 ? axes[index] : `${index + 1}`} value={given?.[index] as number | undefined} fallback={values[index] as number}
            whole={part.type === "integer"} error={form.errors.get(`${path}/${index}`) ?? (index === 0 ? shared.error : undefined)} set={(now) => change(index, now)} />
        ))}
      </Group>
    </Fieldset>
  );
}
