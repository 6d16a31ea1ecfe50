import { Button, Collapse, Group, Text, TextInput } from "@mantine/core";
import { IconChevronDown, IconChevronRight, IconSearch } from "@tabler/icons-react";
import { useState } from "react";

import { Fields, type Form } from "./Field";
import type { Schema, Values } from "./schema";

interface Props {
  form: Form;
  schema: Schema;
  path?: string;
  value: Values;
  set: (value: Values) => void;
  /** Fields that are shown at once besides those that must be given. */
  first: readonly string[];
  without?: readonly string[];
}

/** A spec as a form: what is needed and what is often changed at once, the rest on demand, with a search. */
export function SchemaForm({ form, schema, path = "", value, set, first, without = [] }: Props) {
  const names = Object.keys(schema.properties ?? {}).filter((name) => !without.includes(name));
  const required = (schema.required ?? []).filter((name) => names.includes(name));
  const shown = [...new Set([...required, ...first.filter((name) => names.includes(name))])];
  const rest = names.filter((name) => !shown.includes(name));
  const [opened, setOpened] = useState(false);
  const [wanted, setWanted] = useState("");
  const isWrong = (name: string) => [...form.errors.keys()].some((each) => each === `${path}/${name}` || each.startsWith(`${path}/${name}/`));
  const given = rest.filter((name) => name in value).length;
  // what is wrong is never hidden
  const isOpen = opened || rest.some(isWrong);
  const found = rest.filter((name) => {
    const words = `${name} ${name.replaceAll("_", " ")} ${schema.properties?.[name]?.description ?? ""}`.toLowerCase();
    return isWrong(name) || words.includes(wanted.trim().toLowerCase());
  });
  const Icon = isOpen ? IconChevronDown : IconChevronRight;
  return (
    <>
      <Fields form={form} schema={schema} path={path} value={value} set={set} only={shown} />
      {rest.length > 0 && (
        <>
          <Group my="sm" align="center">
            <Button variant="default" size="compact-sm" leftSection={<Icon size={16} aria-hidden />} aria-expanded={isOpen} onClick={() => setOpened(!isOpen)}>
              More fields
            </Button>
            <Text size="xs" c="dimmed">{rest.length} with defaults{given ? `, ${given} changed` : ""}</Text>
            {isOpen && rest.length > 8 && (
              <TextInput size="xs" aria-label="Search the fields" placeholder="search the fields" value={wanted} w={220}
                onChange={(event) => setWanted(event.currentTarget.value)} leftSection={<IconSearch size={14} aria-hidden />} />
            )}
          </Group>
          <Collapse expanded={isOpen}>
            {isOpen && <Fields form={form} schema={schema} path={path} value={value} set={set} only={found} />}
          </Collapse>
        </>
      )}
    </>
  );
}
