import { Alert, Autocomplete, Button, Card, Group, List, Stack, Text, TextInput, Title } from "@mantine/core";
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { api, type Model } from "../../api/client";
import { type Alias, aliasesQuery, gateQuery, historyQuery } from "../../api/models";
import { meQuery } from "../../api/queries";
import { Failure } from "../../components/Failure";
import { More } from "../../components/More";
import { moment } from "../../format";
import { Gate } from "./Gate";

/** Move an alias to this model, if its gate lets it through or somebody says why it should all the same. */
export function Promote({ model }: { model: Model }) {
  const me = useQuery(meQuery());
  const aliases = useQuery(aliasesQuery(model.project_id));
  const [name, setName] = useState("production");
  const alias = aliases.data?.find((each) => each.name === name.trim().replace(/^@/, ""));
  const mine = (aliases.data ?? []).filter((each) => each.model_id === model.id);
  return (
    <Stack>
      <Text size="sm">{mine.length ? `It stands behind ${mine.map((each) => `@${each.name}`).join(", ")}.` : "No alias stands for it."}</Text>
      {me.data?.role !== "viewer" && (
        <Card withBorder component="section" aria-labelledby="promote">
          <Title order={2} size="h4" id="promote" mb="sm">Promote</Title>
          <Autocomplete label="Alias" w={260} value={name} onChange={setName} data={(aliases.data ?? []).map((each) => each.name)}
            description={alias ? `stands for ${alias.model_id === model.id ? "this model" : alias.model_id} since ${moment(alias.promoted_at)}` : "a new name"} />
          <Move key={`${alias?.id} ${alias?.model_id}`} model={model} alias={alias} name={name.trim().replace(/^@/, "")} />
        </Card>
      )}
      {alias && <Gate alias={alias} mayChange={me.data?.role !== "viewer"} />}
      {alias && <History alias={alias} />}
    </Stack>
  );
}

function Move({ model, alias, name }: { model: Model; alias: Alias | undefined; name: string }) {
  const queries = useQueryClient();
  const [note, setNote] = useState("");
  const [reason, setReason] = useState("");
  const check = useQuery(gateQuery(alias, model.id));
  const move = useMutation({
    mutationFn: async () => {
      const body = { model_id: model.id, note, ...(reason.trim() ? { override: reason.trim() } : {}) };
      await api.PUT("/v1/aliases/{alias}", { params: { path: { alias: name }, query: { project: model.project_id } }, body });
    },
    onSettled: () => {
      for (const key of ["aliases", "promotions", "line", "gate"]) void queries.invalidateQueries({ queryKey: [key] });
    },
  });
  if (alias?.model_id === model.id) return <Text size="sm" mt="sm" role="status">@{alias.name} stands for this model.</Text>;
  const closed = check.data && !check.data.passes;
  return (
    <Stack gap="sm" mt="sm" align="flex-start">
      {check.data?.passes && <Text size="sm">{alias?.gate ? "Its gate is open to this model." : "It has no gate: any model may be promoted."}</Text>}
      {closed && (
        <Alert color="orange" variant="light" title="Its gate is closed to this model" w="100%">
          <List size="sm">{check.data?.refusals.map((each) => <List.Item key={each}>{each}</List.Item>)}</List>
        </Alert>
      )}
      <TextInput label="Note" description="why, for people" w="100%" maw={520} value={note} onChange={(event) => setNote(event.currentTarget.value)} />
      {closed && (
        <TextInput label="Override, because" description="it is kept in the alias's history and in the audit log" w="100%" maw={520} value={reason} required
          onChange={(event) => setReason(event.currentTarget.value)} />
      )}
      {check.error && <Failure error={check.error} />}
      {move.error && <Failure error={move.error} />}
      <Group>
        <Button loading={move.isPending} disabled={!name || Boolean(closed && !reason.trim())} color={closed ? "orange" : undefined} onClick={() => move.mutate()}>
          {closed ? `Promote to @${name} all the same` : `Promote to @${name || "…"}`}
        </Button>
      </Group>
    </Stack>
  );
}

function History({ alias }: { alias: Alias }) {
  const found = useInfiniteQuery(historyQuery(alias));
  const moves = found.data?.pages.flatMap((page) => page.items) ?? [];
  if (!moves.length) return null;
  return (
    <section aria-labelledby="history">
      <Title order={2} size="h4" id="history" mb="xs">History of @{alias.name}</Title>
      <div className="scroll" tabIndex={0} role="region" aria-label="History">
        <table className="rows">
          <thead><tr><th scope="col">When</th><th scope="col">What</th><th scope="col">Model</th><th scope="col">By</th><th scope="col">Why</th></tr></thead>
          <tbody>
            {moves.map((each) => (
              <tr key={each.seq}>
                <td>{moment(each.at)}</td><td>{each.action.replace("_", " ")}</td><td>{each.to_id ?? "–"}</td><td>{each.actor}</td>
                <td>{[each.note, each.override && `gate overridden: ${each.override}`].filter(Boolean).join("; ") || "–"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <More of={found}>Older moves</More>
    </section>
  );
}
