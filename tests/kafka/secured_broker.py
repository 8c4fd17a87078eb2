"""A Kafka that lets nobody in without TLS and a password (SASL/SCRAM-SHA-512), and nobody do what no ACL allows."""

from __future__ import annotations

from collections.abc import Iterable

import trustme
from broker import Broker, free_ports
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

# The plain listener on loopback is the test's own way in: who comes through it may do everything, as the broker itself may.
PROPERTIES = """\
listeners=PLAINTEXT://127.0.0.1:{port},CLIENTS://127.0.0.1:{secure_port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CLIENTS://127.0.0.1:{secure_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CLIENTS:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.clients.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=false
"""


class SecuredBroker(Broker):
    """`bootstrap` is the test's way in, `secure_bootstrap` that of clients; `ca_path` is what they trust."""

    def __init__(self, passwords: dict[str, str]) -> None:
        super().__init__()
        (self.secure_port,) = free_ports(1)
        self.ca_path = self.folder / "ca.pem"
        self._keystore_path = self.folder / "broker.pem"
        self._passwords = passwords
        self._make_certificates()

    @property
    def secure_bootstrap(self) -> str:
        return f"127.0.0.1:{self.secure_port}"

    def allow(self, user: str, resource: ResourceType, name: str, operations: Iterable[AclOperation]) -> None:
        """Grants a user operations on what is called `name`, or begins so if it ends with *."""
        pattern = ResourcePatternType.PREFIXED if name.endswith("*") else ResourcePatternType.LITERAL
        bindings = [
            AclBinding(resource, name.rstrip("*"), pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
            for operation in operations
        ]
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        for future in admin.create_acls(bindings).values():
            future.result(30)

    def _make_certificates(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_path)
        certificate = authority.issue_cert("127.0.0.1")
        key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
        pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # Java reads no other form
        chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        self._keystore_path.write_bytes(pkcs8 + chain)

    def _properties(self) -> str:
        return super()._properties() + PROPERTIES.format(
            port=self.port,
            secure_port=self.secure_port,
            controller_port=self._controller_port,
            keystore=self._keystore_path,
        )

    def _format_arguments(self) -> list[str]:
        users = [f"SCRAM-SHA-512=[name={name},password={secret}]" for name, secret in self._passwords.items()]
        return [*super()._format_arguments(), *(argument for user in users for argument in ("--add-scram", user))]
