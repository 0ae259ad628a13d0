&[
    Preset { name: "bearer", text: include_str!("bearer.toml") },
    Preset { name: "basic", text: include_str!("basic.toml") },
    Preset { name: "api-key", text: include_str!("api-key.toml") },
    Preset { name: "digilocker", text: include_str!("digilocker.toml") },
    Preset { name: "nic-ma", text: include_str!("nic-ma.toml") },
    Preset { name: "payhub", text: include_str!("payhub.toml") },
    Preset { name: "sahamati-entity", text: include_str!("sahamati-entity.toml") },
    Preset { name: "sahamati-secret", text: include_str!("sahamati-secret.toml") },
    Preset { name: "sahamati-user", text: include_str!("sahamati-user.toml") },
]
