//! What holds messages is for its owner only, also where the folder was there before us.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use wirepost::app::StartError;
use wirepost_tests::world::{ROUTES, config, folder, start};
use wirepost_tests::{Relay, Smsc, World};

/// A folder with a configuration, and a spool and a journal that have these modes already.
async fn prepared(spool: u32, journal: u32) -> tempfile::TempDir {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let text = config(relay.address, smsc.address, ROUTES);
    let folder = folder(&format!("{text}journal: {{ path: journal }}\n"));
    for (name, mode) in [("spool", spool), ("journal", journal)] {
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    folder
}

#[tokio::test]
async fn a_folder_that_others_could_read_is_closed_at_the_start() {
    for (spool, journal) in [(0o755, 0o700), (0o750, 0o711), (0o700, 0o755), (0o700, 0o700)] {
        let world = World::start_in(prepared(spool, journal).await).await;
        for name in ["spool", "journal"] {
            let metadata = fs::metadata(world.folder.path().join(name)).unwrap();
            assert_eq!(metadata.mode() & 0o7777, 0o700, "{name} of {spool:o}, {journal:o}");
        }
    }
}

#[tokio::test]
async fn a_folder_that_others_may_write_is_not_believed() {
    for (spool, journal) in [(0o777, 0o700), (0o770, 0o700), (0o700, 0o1777)] {
        let folder = prepared(spool, journal).await;
        let error = start(&folder.path().join("wirepost.yaml")).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, StartError::Folder(_)), "{text}");
        assert!(text.contains("others may write") && text.contains("chmod 0700"), "{text}");
    }
}
