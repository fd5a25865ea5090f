"""A hook that refuses updates of a table which lose changes. Only Pulumi's engine knows the deployed state."""

import pulumi

from infra.rules.view import value_at


def guard_updates(table: str, confirmed_drained: str | None) -> pulumi.ResourceHook:
    """Return a hook that refuses updates which lose changes, or which AWS refuses halfway. It runs in previews too.

    Another view type ends the stream. The update is accepted if `confirmed_drained` is the ARN of this stream. AWS
    needs the attribute's name to switch a time to live off. A time to live moves to another attribute in two updates:
    for up to an hour after the first, AWS refuses another change (UpdateTimeToLive, API reference, November 2026).
    """

    def check(args: pulumi.ResourceHookArgs) -> None:
        old, new = args.old_inputs or {}, args.new_inputs or {}
        stream, view_type = (args.old_outputs or {}).get("streamArn"), old.get("streamViewType")
        if view_type and view_type != new.get("streamViewType") and stream != confirmed_drained:
            raise pulumi.RunError(
                f"{table}: view type {new.get('streamViewType')} in place of {view_type} ends the stream and starts "
                "another: no consumer reads the records that remain in the old stream, and no stream contains the "
                "writes in between. Stop the writers, wait until every reader's IteratorAge is 0, and confirm with: "
                f"pulumi config set --path '{pulumi.get_project()}:confirmedDrained.{table}' {stream}"
            )
        expires, named = value_at(old, "ttl", "attributeName"), value_at(new, "ttl", "attributeName")
        if value_at(old, "ttl", "enabled") and expires != named:
            move = f", and an hour later update with ttl={named!r}" if value_at(new, "ttl", "enabled") else ""
            raise pulumi.RunError(
                f"{table}: the time to live uses the attribute {expires}, and AWS needs this name to switch it off. "
                "Update with "
                f"former_ttl={expires!r} in place of ttl{move}"
            )

    return pulumi.ResourceHook(f"{table}-updates", check, pulumi.ResourceHookOptions(on_dry_run=True))
