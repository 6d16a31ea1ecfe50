import { Button, Group, Stack, Text } from "@mantine/core";
import { IconPlayerPause, IconPlayerPlay, IconPlayerStop, IconRefresh } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";

import { Refused } from "../../api/client";
import { askPipeline, goesOn, type Pipeline, type PipelineVerb } from "../../api/pipelines";
import { meQuery } from "../../api/queries";
import { Confirm } from "../../components/Confirm";

/** What can be done with a pipeline in its state, by whoever may. */
export function PipelineActions({ pipeline }: { pipeline: Pipeline }) {
  const me = useQuery(meQuery());
  const queries = useQueryClient();
  const change = useMutation({
    mutationFn: (verb: PipelineVerb) => askPipeline(verb, pipeline.id),
    onSuccess: (now) => queries.setQueryData(["pipeline", pipeline.id], now),
    onSettled: () => queries.invalidateQueries({ queryKey: ["pipeline", pipeline.id] }),
  });
  if (!me.data || me.data.role === "viewer") return null;
  const busy = (verb: PipelineVerb) => change.isPending && change.variables === verb;
  const over = ["failed", "cancelled"].includes(pipeline.state);
  return (
    <Stack gap={4} align="flex-end">
      <Group gap="xs">
        {goesOn(pipeline.state) && (
          <Button variant="default" leftSection={<IconPlayerPause size={16} aria-hidden />} loading={busy("pause")}
            onClick={() => change.mutate("pause")}>Pause</Button>
        )}
        {pipeline.state === "paused" && (
          <Button leftSection={<IconPlayerPlay size={16} aria-hidden />} loading={busy("resume")} onClick={() => change.mutate("resume")}>Resume</Button>
        )}
        {(goesOn(pipeline.state) || pipeline.state === "paused") && (
          <Confirm label="Cancel" yes="Cancel the pipeline" icon={<IconPlayerStop size={16} aria-hidden />} busy={busy("cancel")}
            does={() => change.mutate("cancel")}>
            All steps that have not ended are cancelled; what runs writes a checkpoint first. What is done stays, and Retry goes on from there.
          </Confirm>
        )}
        {over && (
          <Button leftSection={<IconRefresh size={16} aria-hidden />} loading={busy("retry")} onClick={() => change.mutate("retry")}>
            Retry what has not succeeded
          </Button>
        )}
      </Group>
      {change.error && <Text size="sm" c="red" role="alert">{change.error instanceof Refused ? change.error.message : String(change.error)}</Text>}
    </Stack>
  );
}
