import { Button, Card, Group, NumberInput, Stack, Text, Title } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { api } from "../../api/client";
import type { Alias } from "../../api/models";
import { Failure } from "../../components/Failure";
import { number } from "../../format";

type Bounds = NonNullable<Alias["gate"]>;
type Named = "average" | "each" | "accuracy";
const FIELDS: { name: Named; label: string; help: string }[] = [
  { name: "average", label: "Mean forgetting, at most", help: "share of the loss, 0.05 is a twentieth" },
  { name: "each", label: "Forgetting of any modality, at most", help: "of those without a bound of their own" },
  { name: "accuracy", label: "Accuracy lost, at most", help: "of a probe, 0.05 is 5 points" },
];

/** The bounds that a model has to keep to for an alias to move to it. */
export function Gate({ alias, mayChange }: { alias: Alias; mayChange: boolean }) {
  const [open, setOpen] = useState(false);
  const gate = alias.gate;
  const own = Object.entries((gate?.modalities ?? {}) as Record<string, number>);
  const words = gate && [...FIELDS.flatMap((each) => (gate[each.name] == null ? [] : [`${each.label.toLowerCase()} ${number(gate[each.name])}`])),
    ...own.map(([modality, bound]) => `${modality} at most ${number(bound)}`)].join("; ");
  return (
    <Card withBorder component="section" aria-labelledby="gate">
      <Group justify="space-between">
        <Title order={2} size="h4" id="gate">Gate of @{alias.name}</Title>
        {mayChange && !open && <Button size="xs" variant="default" onClick={() => setOpen(true)}>Change</Button>}
      </Group>
      <Text size="sm">{words || "None: any model may be promoted."}</Text>
      {open && <Form alias={alias} close={() => setOpen(false)} />}
    </Card>
  );
}

function Form({ alias, close }: { alias: Alias; close: () => void }) {
  const queries = useQueryClient();
  const [bounds, setBounds] = useState<Partial<Record<Named, number | null>>>(alias.gate ?? {});
  const params = { path: { alias: alias.name }, query: { project: alias.project_id } };
  const change = useMutation({
    mutationFn: async (to: Bounds | null) => {
      if (to) await api.PUT("/v1/aliases/{alias}/gate", { params, body: to });
      else await api.DELETE("/v1/aliases/{alias}/gate", { params });
    },
    onSuccess: close,
    onSettled: () => queries.invalidateQueries({ queryKey: ["aliases"] }),
  });
  const chosen = { average: bounds.average ?? null, each: bounds.each ?? null, accuracy: bounds.accuracy ?? null, modalities: alias.gate?.modalities ?? {} };
  return (
    <Stack gap="sm" mt="sm">
      <Group align="flex-end">
        {FIELDS.map(({ name, label, help }) => (
          <NumberInput key={name} label={label} description={help} w={270} min={0} step={0.01} value={bounds[name] ?? ""} placeholder="any"
            onChange={(to) => setBounds((old) => ({ ...old, [name]: typeof to === "number" ? to : null }))} />
        ))}
      </Group>
      {change.error && <Failure error={change.error} />}
      <Group>
        <Button size="xs" loading={change.isPending} onClick={() => change.mutate(chosen as Bounds)}>Set the gate</Button>
        {alias.gate && <Button size="xs" variant="default" onClick={() => change.mutate(null)}>Remove it</Button>}
        <Button size="xs" variant="default" onClick={close}>Leave it</Button>
      </Group>
    </Stack>
  );
}
