"""From a model's name to the provider that answers it."""

import asyncio
import importlib.util
import re
import time
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
import pydantic

from agent_factory.core.model import ModelError, ModelInfo, ModelProvider, UnknownModel
from agent_factory.kit.catalog import Catalog
from agent_factory.providers import Access, ProviderFactory
from agent_factory.security.egress import Egress

Rate = Annotated[Decimal, pydantic.Field(ge=0, le=1_000_000, allow_inf_nan=False)]

_PROBE_SECONDS = 0.3
_PROBE_AGAIN = 30.0
_BARE = ((re.compile(r"^(?:gpt-|o\d|chatgpt-)"), "openai"), (re.compile(r"^claude-"), "anthropic"))
_VENDORS = {"openai": "openai", "anthropic": "anthropic", "hf": "huggingface", "ollama": "ollama"}
_FIRST = {"openai": "gpt-5-mini", "anthropic": "claude-sonnet-4-5", "hf": "openai/gpt-oss-120b"}
"""What `default` means at a vendor where nothing else is said."""
_WINDOWS = (
    (re.compile(r"^gpt-5|^gpt-6"), 400_000),
    (re.compile(r"^gpt-4\.1"), 1_047_576),
    (re.compile(r"^gpt-4o|^gpt-4-turbo|^o1-mini"), 128_000),
    (re.compile(r"^o\d|^claude-"), 200_000),
)


class Endpoint(pydantic.BaseModel, frozen=True, extra="forbid"):
    """A server of one's own; `context_window` in tokens."""

    url: str = pydantic.Field(pattern=r"^https?://")
    api_key: pydantic.SecretStr | None = None
    protocol: Literal["openai", "anthropic", "responses"] = "openai"
    context_window: int | None = pydantic.Field(default=None, ge=1)
    model: str | None = None


class Price(pydantic.BaseModel, frozen=True, extra="forbid"):
    """USD for a million tokens; cached input costs what other input does unless `cached_input` says less."""

    input: Rate
    output: Rate
    cached_input: Rate | None = None


class ModelsSettings(pydantic.BaseModel, frozen=True, extra="forbid"):
    """Which models there are. `default` is the model that `default` means, as `vendor:model`.

    `prices` are those of models whose price nobody else knows, or is another
    one here, by `vendor:model`; `vendor:*` is every other model of a vendor.
    """

    openai_api_key: pydantic.SecretStr | None = None
    openai_base_url: str | None = None
    anthropic_api_key: pydantic.SecretStr | None = None
    anthropic_base_url: str | None = None
    hf_token: pydantic.SecretStr | None = None
    ollama_url: str = "http://127.0.0.1:11434"
    endpoints: dict[str, Endpoint] = {}
    default: str | None = None
    prices: dict[Annotated[str, pydantic.Field(pattern=r"^[^:]+:.+$")], Price] = {}

    @pydantic.field_validator("endpoints")
    @classmethod
    def _names_are_free(cls, value: dict[str, Endpoint]) -> dict[str, Endpoint]:
        for name in value:
            if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", name) or name in (
                *_VENDORS,
                "demo",
                "default",
                "pydantic-ai",
            ):
                raise ValueError(
                    f"{name!r} cannot name an endpoint: use lower case, digits, - and _, and no vendor's name"
                )
        return value


class ResolvedModel(msgspec.Struct, frozen=True):
    """A provider and the model to ask it for; `name` is `vendor:model`, `window` in tokens, `price` the operator's."""

    provider: ModelProvider
    model: str
    name: str
    window: int | None = None
    price: Price | None = None


class ProviderStatus(msgspec.Struct, frozen=True):
    """Whether a provider can be used, and what to do where it cannot."""

    name: str
    configured: bool
    hint: str = ""


class Models:
    """Resolves names, keeping one client an endpoint."""

    def __init__(self, settings: ModelsSettings, egress: Egress) -> None:
        """Keep the settings; nothing is loaded or reached yet."""
        self._settings = settings
        self._egress = egress
        self._catalog: Catalog[ProviderFactory] = Catalog("agent_factory.providers")
        self._providers: dict[str, ModelProvider] = {}
        self._ollama: str | None = None
        self._probed = float("-inf")

    def resolve(self, name: str) -> ResolvedModel:
        """Find the provider of `default`, `demo`, `vendor:model` or a vendor's well-known bare name.

        `default` takes an Ollama into account once `find` or `available` has
        looked for one. Raises `UnknownModel`, which says what to set.
        """
        if name == "default":
            name = self._default()
        if name == "demo":
            return ResolvedModel(self._provider("demo"), "demo", "demo", 1_000_000)
        vendor, colon, model = name.partition(":")
        if not colon:
            vendor, model = next((v for p, v in _BARE if p.search(name)), ""), name
        if not vendor or not model:
            raise UnknownModel(f"{name!r} is no model name; write vendor:model, where the vendor is {self._known()}.")
        window = self._settings.endpoints[vendor].context_window if vendor in self._settings.endpoints else None
        found = f"{vendor}:{model}"
        price = self._settings.prices.get(found) or self._settings.prices.get(f"{vendor}:*")
        return ResolvedModel(self._provider(vendor), model, found, window or _window(vendor, model), price)

    async def find(self, name: str) -> ResolvedModel:
        """Resolve a name, looking for an Ollama first where `default` may mean it."""
        if name == "default" and self._needs_probe():
            await self._probe()
        return self.resolve(name)

    async def available(self) -> list[ModelInfo]:
        """List the models of every configured provider; one that is down is left out."""
        names = [s.name for s in self.status() if s.configured and s.name not in ("demo", "ollama", "pydantic-ai")]
        lists = await asyncio.gather(self._probe(), *(self._listed(n) for n in names))
        demo = await self._provider("demo").get_available_models()
        return [m for found in lists for m in found] + demo

    def status(self) -> list[ProviderStatus]:
        """Tell for each provider whether it is configured, and how to configure it."""
        configured = {
            "openai": self._settings.openai_api_key is not None or self._settings.openai_base_url is not None,
            "anthropic": self._settings.anthropic_api_key is not None or self._settings.anthropic_base_url is not None,
            "hf": self._settings.hf_token is not None,
            "ollama": self._ollama is not None,
        }
        out = [ProviderStatus(v, c, "" if c else self._plugin(_VENDORS[v]).needs) for v, c in configured.items()]
        out += [ProviderStatus(name, configured=True) for name in self._settings.endpoints]
        adapter = importlib.util.find_spec("pydantic_ai") is not None
        out.append(ProviderStatus("pydantic-ai", adapter, "" if adapter else self._plugin("pydantic_ai").needs))
        return [*out, ProviderStatus("demo", configured=True)]

    def _default(self) -> str:
        settings = self._settings
        if settings.default:
            if settings.default == "default":
                raise UnknownModel("The default model cannot be 'default'; set AF_MODELS__DEFAULT to vendor:model.")
            return settings.default
        configured = {s.name for s in self.status() if s.configured}
        for vendor, model in _FIRST.items():
            if vendor in configured:
                return f"{vendor}:{model}"
        if self._ollama:
            return f"ollama:{self._ollama}"
        return next((f"{n}:{e.model}" for n, e in settings.endpoints.items() if e.model), "demo")

    def _needs_probe(self) -> bool:
        hosted = (self._settings.openai_api_key, self._settings.anthropic_api_key, self._settings.hf_token)
        stale = time.monotonic() - self._probed > _PROBE_AGAIN
        return stale and not self._settings.default and not any(hosted)

    async def _probe(self) -> list[ModelInfo]:
        """Ask whether an Ollama answers, and keep the name of its first model."""
        self._probed = time.monotonic()
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                found = await self._provider("ollama").get_available_models()
        except (ModelError, TimeoutError):
            found = []
        self._ollama = found[0].id if found else None
        return found

    async def _listed(self, vendor: str) -> list[ModelInfo]:
        try:
            return await self._provider(vendor).get_available_models()
        except ModelError:
            return []

    def _provider(self, vendor: str) -> ModelProvider:
        found = self._providers.get(vendor)
        if found is None:
            plugin, access = self._access(vendor)
            found = self._providers[vendor] = self._plugin(plugin).build(access, self._egress)
        return found

    def _access(self, vendor: str) -> tuple[str, Access]:
        """Give the plugin of a vendor and how it is reached."""
        settings = self._settings
        endpoint = settings.endpoints.get(vendor)
        if endpoint is not None:
            key, window = _plain(endpoint.api_key), endpoint.context_window
            return "endpoint", Access(vendor, endpoint.url, key, window, endpoint.protocol)
        hosted = {
            "openai": (settings.openai_base_url, settings.openai_api_key),
            "anthropic": (settings.anthropic_base_url, settings.anthropic_api_key),
            "hf": (None, settings.hf_token),
        }
        if vendor in hosted:
            url, secret = hosted[vendor]
            plugin = _VENDORS[vendor]
            if secret is None and url is None:
                raise UnknownModel(f"{vendor} is not configured. {self._plugin(plugin).needs}")
            return plugin, Access(vendor, url or "", _plain(secret))
        local = {"ollama": ("ollama", settings.ollama_url), "pydantic-ai": ("pydantic_ai", ""), "demo": ("demo", "")}
        if vendor in local:
            return local[vendor][0], Access(vendor, local[vendor][1])
        return self._foreign(vendor)

    def _foreign(self, vendor: str) -> tuple[str, Access]:
        """Give a provider that another package brings; it reads its own credentials."""
        built_in = {"endpoint", "huggingface", "pydantic_ai"}
        if vendor in built_in or vendor not in self._catalog.names():
            raise UnknownModel(
                f"There is no model vendor {vendor!r}; known are {self._known()}. "
                "A server of your own is set with AF_MODELS__ENDPOINTS."
            )
        return vendor, Access(vendor)

    def _plugin(self, name: str) -> ProviderFactory:
        return self._catalog.get(name)

    def _known(self) -> str:
        return ", ".join([*_VENDORS, *self._settings.endpoints, "pydantic-ai", "demo"])


def _plain(secret: pydantic.SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


def _window(vendor: str, model: str) -> int | None:
    if vendor not in ("openai", "anthropic"):
        return None
    return next((tokens for pattern, tokens in _WINDOWS if pattern.search(model)), None)
