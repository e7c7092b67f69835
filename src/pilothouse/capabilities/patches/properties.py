"""What filters can name of each operating system (patch-manager.md, section 3): static, for DescribePatchProperties."""

from typing import Final

_RPM_CLASSES: Final = ("Security", "Bugfix", "Enhancement", "Recommended", "Newpackage")
_PRIORITIES: Final = ("Required", "Important", "Standard", "Optional", "Extra")
_PRODUCTS: Final = {
    "AMAZON_LINUX": ("AmazonLinux2018.03", "AmazonLinux2017.09", "AmazonLinux2017.03"),
    "AMAZON_LINUX_2": ("AmazonLinux2",),
    "AMAZON_LINUX_2022": ("AmazonLinux2022",),
    "AMAZON_LINUX_2023": ("AmazonLinux2023",),
    "UBUNTU": ("Ubuntu16.04", "Ubuntu18.04", "Ubuntu20.04", "Ubuntu22.04", "Ubuntu24.04"),
    "DEBIAN": ("Debian10", "Debian11", "Debian12", "Debian13"),
    "RASPBIAN": ("Raspbian10", "Raspbian11", "Raspbian12"),
    "REDHAT_ENTERPRISE_LINUX": (
        "RedhatEnterpriseLinux7.*", "RedhatEnterpriseLinux8.*", "RedhatEnterpriseLinux9.*", "RedhatEnterpriseLinux10.*"
    ),
    "CENTOS": ("CentOS7.*", "CentOS8.*", "CentOS9"),
    "ROCKY_LINUX": ("RockyLinux8.*", "RockyLinux9.*"),
    "ALMA_LINUX": ("AlmaLinux8.*", "AlmaLinux9.*"),
    "ORACLE_LINUX": ("OracleLinux7.*", "OracleLinux8.*", "OracleLinux9.*"),
    "SUSE": ("Suse12.*", "Suse15.*"),
    "WINDOWS": ("WindowsServer2016", "WindowsServer2019", "WindowsServer2022", "WindowsServer2025"),
    "MACOS": ("MacOS12.*", "MacOS13.*", "MacOS14.*", "MacOS15.*"),
}  # fmt: skip
_RPM: Final = (
    "REDHAT_ENTERPRISE_LINUX", "CENTOS", "ROCKY_LINUX", "ALMA_LINUX", "ORACLE_LINUX"
)  # fmt: skip
_AMAZON: Final = ("AMAZON_LINUX", "AMAZON_LINUX_2", "AMAZON_LINUX_2022", "AMAZON_LINUX_2023")
_APT: Final = ("UBUNTU", "DEBIAN", "RASPBIAN")

PROPERTIES: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    **{(system, "PRODUCT"): products for system, products in _PRODUCTS.items()},
    **{(system, "CLASSIFICATION"): _RPM_CLASSES for system in (*_RPM, *_AMAZON)},
    **{(system, "SEVERITY"): ("Critical", "Important", "Moderate", "Low", "None") for system in _RPM},
    **{(system, "SEVERITY"): ("Critical", "Important", "Medium", "Low") for system in _AMAZON},
    **{(system, "PRIORITY"): _PRIORITIES for system in _APT},
    ("SUSE", "CLASSIFICATION"): ("Security", "Recommended", "Optional", "Feature", "Document", "Yast"),
    ("SUSE", "SEVERITY"): ("Critical", "Important", "Moderate", "Low"),
    ("WINDOWS", "CLASSIFICATION"): (
        "CriticalUpdates", "DefinitionUpdates", "Drivers", "FeaturePacks", "SecurityUpdates", "ServicePacks", "Tools",
        "UpdateRollups", "Updates", "Upgrades",
    ),
    ("WINDOWS", "MSRC_SEVERITY"): ("Critical", "Important", "Low", "Moderate", "Unspecified"),
    ("WINDOWS", "PRODUCT_FAMILY"): ("Windows",),
    ("MACOS", "CLASSIFICATION"): ("Security", "Recommended"),
}  # fmt: skip
