"""What BondPoint has on the pretend Google Cloud for backups to copy, and a scratch project."""

from sandbox.cloud.buckets import PretendStorage
from sandbox.cloud.cloud import Cloud

PROJECT, SCRATCH = "bondpoint-prod", "bondpoint-scratch"

DOCUMENTS = {"users": 1200, "users/000000/orders": 300, "teams": 30, "status": 1200}
SECRETS = {"slack-bot-token": 4, "database-password": 2, "push-key": 1}
PICTURES = 24


async def furnish(cloud: Cloud, storage: PretendStorage | None) -> None:
    """Databases, documents, pictures and secrets; without a pretend storage nothing that needs a bucket."""
    cloud.sql.add(PROJECT, "bondpoint-db", retained=False)
    cloud.sql.add(SCRATCH, "restored")
    for name, versions in SECRETS.items():
        cloud.secrets.add(PROJECT, name, versions=versions, labels={"team": "api"})
    cloud.firestore.add(PROJECT, documents=dict(DOCUMENTS))
    cloud.firestore.add(SCRATCH, "restored")
    if storage is None:
        return
    cloud.firestore.shelf = storage
    for bucket in ("bondpoint-backups", "bondpoint-images", "bondpoint-scratch"):
        await storage.make(bucket)
    if not await storage.names("bondpoint-images"):
        for number in range(PICTURES):
            await storage.write("bondpoint-images", f"users/{number:04}.png", bytes([number]) * 2048)
