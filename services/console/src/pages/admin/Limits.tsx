import { Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import { usageQuery } from "../../api/admin";
import { platformQuery } from "../../api/gateway";
import { Failure } from "../../components/Failure";
import { bytes, number } from "../../format";

const WORDS: Record<string, { label: string; setting: string }> = {
  max_file_bytes: { label: "largest file", setting: "MEDCOSS_MAX_FILE_BYTES" },
  max_dataset_bytes: { label: "largest dataset", setting: "MEDCOSS_MAX_DATASET_BYTES" },
  max_inference_bytes: { label: "largest request to the gateway", setting: "MEDCOSS_MAX_INFERENCE_BYTES" },
};

/** Jobs of every owner against the quotas. */
function Owners() {
  const found = useQuery(usageQuery(undefined));
  if (found.error) return <Failure error={found.error} />;
  const { owners = [], quota_running = null, quota_queued = null } = found.data ?? {};
  const words = (now: number, most: number | null) => (most == null ? `${number(now)}, no quota` : `${number(now)} of ${number(most)}`);
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label="Jobs against the quotas">
      <table className="rows">
        <thead><tr><th scope="col">Owner</th><th scope="col" className="num">Jobs that run</th><th scope="col" className="num">Jobs that wait</th></tr></thead>
        <tbody>
          {owners.map((each) => (
            <tr key={each.owner}>
              <td>{each.owner}</td><td className="num">{words(each.running, quota_running)}</td><td className="num">{words(each.waiting, quota_queued)}</td>
            </tr>
          ))}
          {found.isSuccess && owners.length === 0 && <tr><td colSpan={3}>Nobody has a job that runs or waits.</td></tr>}
        </tbody>
      </table>
    </div>
  );
}

/** Quotas and limits of the platform; they are settings of its services. */
export function Limits() {
  const found = useQuery(platformQuery());
  const limits = (found.data?.limits ?? {}) as Record<string, number>;
  return (
    <Stack gap="sm">
      <Owners />
      <Text size="sm">Limits and quotas (MEDCOSS_QUOTA_RUNNING, MEDCOSS_QUOTA_QUEUED) are settings of the services, changed where they are started.</Text>
      {found.error && <Failure error={found.error} />}
      <div className="scroll" tabIndex={0} role="region" aria-label="Quotas and limits">
        <table className="rows">
          <thead><tr><th scope="col">Limit</th><th scope="col" className="num">Now</th><th scope="col">Setting</th></tr></thead>
          <tbody>
            {Object.entries(limits).map(([name, value]) => {
              const known = WORDS[name];
              return (
                <tr key={name}>
                  <td>{known?.label ?? name}</td>
                  <td className="num">{bytes(value)}</td>
                  <td><code>{known?.setting ?? `MEDCOSS_${name.toUpperCase()}`}</code></td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </Stack>
  );
}
